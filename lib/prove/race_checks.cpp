// A program inside swaps directories with links while the host's calls work on them.
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <thread>

#include "prove/catalogue.hpp"

namespace sandbox::prove {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t kFullRounds = 100'000, kQuickRounds = 2'000;

/// The racer inside, until stop().
class Racer {
 public:
  static Result<Racer> start(Stage& stage, Sandbox& box) {
    SANDBOX_TRY(auto process, box.process().spawn(Command("/root/sandbox-probe").args("race", "/root/race", stage.outside()).open_stdin()));
    SANDBOX_TRY(auto first, process.read_for(10s));
    if (!first || first->text() != "ready\n") return Error(ErrorCode::internal, "the racer did not begin");
    return Racer(std::move(process));
  }
  /// How often it swapped.
  Result<std::uint64_t> stop() {
    SANDBOX_CHECK(process_.close_stdin());
    std::string text;
    for (;;) {
      SANDBOX_TRY(auto chunk, process_.read_for(20s));
      if (!chunk) break;
      text += chunk->text();
    }
    SANDBOX_TRY(const auto status, process_.wait_for(10s));
    if (!status.ok()) return Error(ErrorCode::internal, "the racer ended by itself");
    return std::strtoull(text.c_str(), nullptr, 10);
  }

 private:
  explicit Racer(RunningProcess process) : process_(std::move(process)) {}
  RunningProcess process_;
};

struct Raced {
  const char* name;
  /// One call. Returns what it got to see; failures are fine.
  std::function<std::string(Stage&, Sandbox&)> call;
};

template <class T>
std::string nothing(const Result<T>& outcome) {
  outcome.ignore("a race may make any call fail");
  return {};
}

std::vector<Raced> raced_calls() {
  return {
      {"read",
       [](Stage&, Sandbox& box) {
         auto text = box.fs().read_text("/root/race/x/f");
         return text ? *text : nothing(text);
       }},
      {"read through a link",
       [](Stage&, Sandbox& box) {
         auto text = box.fs().read_text("/root/race/f");
         return text ? *text : nothing(text);
       }},
      {"read_range",
       [](Stage&, Sandbox& box) {
         auto part = box.fs().read_range("/root/race/x/f", 0, 256);
         return part ? std::string(as_text(*part)) : nothing(part);
       }},
      {"write", [](Stage&, Sandbox& box) { return nothing(box.fs().write("/root/race/x/f", std::string_view("inside\n"))); }},
      {"append", [](Stage&, Sandbox& box) { return nothing(box.fs().append("/root/race/x/f", "inside\n")); }},
      {"stat", [](Stage&, Sandbox& box) { return nothing(box.fs().stat("/root/race/x/f")); }},
      {"lstat", [](Stage&, Sandbox& box) { return nothing(box.fs().lstat("/root/race/x")); }},
      {"list", [](Stage&, Sandbox& box) { return nothing(box.fs().list("/root/race/x")); }},
      {"find", [](Stage&, Sandbox& box) { return nothing(box.fs().find("/root/race", "**")); }},
      {"mkdir", [](Stage&, Sandbox& box) { return nothing(box.fs().mkdir("/root/race/x/made")); }},
      {"remove", [](Stage&, Sandbox& box) { return nothing(box.fs().remove("/root/race/x/made")); }},
      {"rename", [](Stage&, Sandbox& box) { return nothing(box.fs().rename("/root/race/x/f", "/root/race/x/g")); }},
      {"rename back", [](Stage&, Sandbox& box) { return nothing(box.fs().rename("/root/race/x/g", "/root/race/x/f")); }},
      {"copy", [](Stage&, Sandbox& box) { return nothing(box.fs().copy("/root/race/x", "/root/copied")); }},
      {"symlink", [](Stage&, Sandbox& box) { return nothing(box.fs().symlink("f", "/root/race/x/linked")); }},
      {"chmod", [](Stage&, Sandbox& box) { return nothing(box.fs().chmod("/root/race/x/f", 0600)); }},
      {"remove_all", [](Stage&, Sandbox& box) { return nothing(box.fs().remove_all("/root/race/x/made")); }},
      {"upload", [](Stage& stage, Sandbox& box) { return nothing(box.fs().upload(stage.directory() + "/upload", "/root/race/x")); }},
      {"download",
       [](Stage& stage, Sandbox& box) {
         const std::string target = stage.directory() + "/download";
         std::error_code ignored;
         fs::create_directory(target, ignored);
         nothing(box.fs().download("/root/race", target));
         std::string seen;
         for (const char* name : {"/x/f", "/f", "/race/x/f"}) {
           std::ifstream file(target + name);
           std::stringstream text;
           text << file.rdbuf();
           seen += text.str();
         }
         fs::remove_all(target, ignored);
         return seen;
       }},
      {"workdir of a program",
       [](Stage&, Sandbox& box) {
         auto done = box.process().exec(Command("/bin/cat").args("f").workdir("/root/race/x").timeout(5s));
         return done ? std::string(done->stdout_text()) : nothing(done);
       }},
      {"save_template",
       [](Stage& stage, Sandbox& box) {
         auto saved = box.save_template("raced");
         if (!saved) return nothing(saved);
         stage.runtime().remove_template(saved->id).ignore("its runtime ends soon");
         return std::string();
       }},
  };
}

}  // namespace

void check_races(Stage& stage, CheckResult& result) {
  const bool full = stage.options().is_full();
  const std::string upload = stage.new_directory("upload");
  std::ofstream(upload + "/f") << "uploaded\n";
  auto box = stage.make(stage.spec());
  if (!is_fine(result, box, "create")) return;
  std::uint64_t swaps = 0, calls = 0, fewest = ~0ull;
  for (const Raced& raced : raced_calls()) {
    // The freezer stops the racer during a template's save: what races there is the directory that was left half swapped.
    const bool heavy = std::string_view(raced.name) == "save_template" || std::string_view(raced.name) == "download" ||
                       std::string_view(raced.name) == "upload" || std::string_view(raced.name) == "workdir of a program";
    const std::uint64_t wanted_calls = full ? (heavy ? 200 : 5000) : (heavy ? 3 : 40);
    const std::uint64_t wanted_rounds = full ? kFullRounds : kQuickRounds;
    std::uint64_t rounds = 0, done = 0;
    const auto limit = std::chrono::steady_clock::now() + (full ? 60s : 2s);
    while ((rounds < wanted_rounds || done < wanted_calls) && std::chrono::steady_clock::now() < limit) {
      auto racer = Racer::start(stage, *box);
      if (!is_fine(result, racer, "racer")) return;
      // The racer counts when it stops: some calls, then how far it is.
      const auto until = std::chrono::steady_clock::now() + (full ? 1000ms : 60ms);
      std::uint64_t batch = 0;
      do {
        const std::string seen = raced.call(stage, *box);
        ++batch;
        if (seen.find(stage.secret()) != seen.npos) return fail(result, std::string(raced.name) + " read a file of the host");
      } while (std::chrono::steady_clock::now() < until && (done + batch < wanted_calls || full));
      const auto stopped = racer->stop();
      if (!is_fine(result, stopped, raced.name)) return;
      rounds += *stopped;
      done += batch;
      if (const std::string harm = stage.harm(); !harm.empty()) return fail(result, std::string(raced.name) + ": " + harm);
    }
    if (rounds < wanted_rounds / (full ? 1 : 4))
      return fail(result, std::string(raced.name) + ": only " + std::to_string(rounds) + " swaps in its time");
    swaps += rounds;
    calls += done;
    fewest = std::min(fewest, rounds);
  }
  pass(result, std::to_string(swaps) + " swaps against " + std::to_string(calls) + " calls of " + std::to_string(raced_calls().size()) +
                   " kinds, at least " + std::to_string(fewest) + " for each; nothing of the host was read or changed");
}

}  // namespace sandbox::prove
