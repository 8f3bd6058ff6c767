// The floor of the bindings' overhead: env get, and 64 MiB through a file, in C++ in this process.
//
// usage: env_get_floor [rounds]     (default 20000)
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <vector>

#include <sandbox/runtime.hpp>
#include <sandbox/sandbox.hpp>

namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t kFile = 64 << 20;
constexpr std::size_t kPiece = 1 << 20;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }
double mib_per_second(Clock::time_point begin) { return kFile / double(1 << 20) / seconds_since(begin); }

double env_get_us(sandbox::Env env, int rounds) {
  std::vector<double> times;
  for (int i = 0; i < rounds; ++i) {
    const auto begin = Clock::now();
    if (env.get("FLOOR").value() != "1") std::abort();
    times.push_back(seconds_since(begin) * 1e6);
  }
  std::nth_element(times.begin(), times.begin() + rounds / 2, times.end());
  return times[static_cast<std::size_t>(rounds) / 2];
}

double file_in(sandbox::Fs fs) {
  const sandbox::Bytes piece(kPiece, std::byte{7});
  const auto begin = Clock::now();
  auto writer = fs.open_writer("/root/floor").value();
  for (std::size_t sent = 0; sent < kFile; sent += piece.size()) writer.write(piece).value();
  writer.finish().value();
  return mib_per_second(begin);
}

double file_out(sandbox::Fs fs) {
  const auto begin = Clock::now();
  auto reader = fs.open_reader("/root/floor").value();
  std::size_t total = 0;
  for (auto piece = reader.read().value(); !piece.empty(); piece = reader.read().value()) total += piece.size();
  if (total != kFile) std::abort();
  return mib_per_second(begin);
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::max(1, std::atoi(argv[1])) : 20000;
  std::string state = (std::filesystem::temp_directory_path() / "sandbox-floor-XXXXXX").string();
  if (!::mkdtemp(state.data())) return 1;
  int failed = 0;
  try {
    auto runtime = sandbox::Runtime::open(sandbox::RuntimeOptions().state_directory(state)).value();
    auto box = runtime.create().value();
    box.env().set("FLOOR", "1").value();
    env_get_us(box.env(), rounds / 10 + 1);
    const double get = env_get_us(box.env(), rounds);
    double in = 0, out = 0;
    for (int i = 0; i < 3; ++i) {
      in = std::max(in, file_in(box.fs()));
      out = std::max(out, file_out(box.fs()));
    }
    std::printf("{\"env_get_us_p50\":%.2f,\"file_in_mib_s\":%.0f,\"file_out_mib_s\":%.0f}\n", get, in, out);
  } catch (const std::exception& exception) {
    std::fprintf(stderr, "env_get_floor: %s\n", exception.what());
    failed = 1;
  }
  std::error_code ignored;
  std::filesystem::remove_all(state, ignored);
  return failed;
}
