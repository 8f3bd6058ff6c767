// How long a persistent runtime needs to take over 500 sandboxes that another one left.
#include <stdlib.h>

#include <filesystem>
#include <optional>
#include <stdexcept>

#include "scenario.hpp"

namespace bench {
namespace {

/// A state directory for one scenario.
class StateDirectory {
 public:
  StateDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "sandbox-bench-XXXXXX").string();
    if (!::mkdtemp(pattern.data())) throw std::runtime_error("no temporary directory");
    path_ = pattern;
  }
  ~StateDirectory() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace

std::vector<Result> adopt_500(Config& config) {
  const int count = config.quick ? 50 : 500, rounds = config.quick ? 3 : 5;
  StateDirectory state;
  const auto options = [&] { return sandbox::RuntimeOptions().state_directory(state.path()).persistent(); };
  {
    auto runtime = sandbox::Runtime::open(options()).value();
    std::vector<sandbox::Sandbox> boxes;
    for (int i = 0; i < count; ++i) boxes.push_back(runtime.create(base_spec()).value());
    runtime.leave().value();
  }
  Samples ours, empty;
  for (int round = 0; round < rounds; ++round) {
    std::optional<sandbox::Runtime> runtime;
    ours.add(timed([&] { runtime.emplace(sandbox::Runtime::open(options()).value()); }), kMillisecond);
    auto adoption = runtime->adopted();
    if (adoption.sandboxes.size() != static_cast<std::size_t>(count)) throw std::runtime_error("sandboxes were lost");
    adoption.sandboxes.front().ping().value();
    if (round + 1 < rounds) runtime->leave().value();
    else runtime->close().value();
  }
  for (int round = 0; round < rounds; ++round) {
    std::optional<sandbox::Runtime> runtime;
    empty.add(timed([&] { runtime.emplace(sandbox::Runtime::open(options()).value()); }), kMillisecond);
    runtime->close().value();
  }
  auto result = summarise("adopt_500", "ms", ours, empty);
  result.bar = "p50 <= 1000 ms";
  if (!config.quick) result.pass = result.p50 <= 1000;
  result.method = "Runtime::open with " + std::to_string(count) + " sandboxes left by an earlier runtime, each greeted and verified; floor: the same with none";
  return {result};
}

}  // namespace bench
