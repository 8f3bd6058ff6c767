// A thousand sandboxes at work at once.
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <vector>

#include <sandbox/asio.hpp>
#include <sandbox/client.hpp>

#include "../scenario.hpp"
#include "daemon_process.hpp"

namespace bench {

namespace {

struct Round {
  Samples times;
  std::uint64_t failed = 0;
  std::string first_error;
};

/// One exec in every sandbox, at most `at_once` of them on their way.
Round exec_everywhere(std::vector<sandbox::Sandbox>& boxes, std::size_t at_once) {
  Round round;
  std::mutex mutex;
  std::condition_variable changed;
  std::size_t running = 0;
  for (auto& box : boxes) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return running < at_once; });
    ++running;
    lock.unlock();
    const auto begin = Clock::now();
    box.process().async_exec(sandbox::Command::from_argv({"/usr/bin/true"}), [&, begin](sandbox::Result<sandbox::ExecResult> result) {
      const std::scoped_lock done(mutex);
      if (result && result->ok()) {
        round.times.add(Clock::now() - begin, kMillisecond);
      } else {
        ++round.failed;
        const std::string text = result ? "true ended with " + std::to_string(result->shell_code()) : result.error().to_string();
        if (round.first_error.empty()) round.first_error = text;
      }
      --running;
      changed.notify_one();
    });
  }
  std::unique_lock lock(mutex);
  if (!changed.wait_for(lock, std::chrono::seconds(120), [&] { return running == 0; })) {
    throw std::runtime_error(std::to_string(running) + " execs never ended");
  }
  return round;
}

}  // namespace

std::vector<Result> daemon_sessions_1000(Config& config) {
  const std::size_t count = config.quick ? 200 : 1000;
  Daemon daemon({});
  const double before = daemon.view().pss_kib;
  auto client = sandbox::Client::connect(daemon.url()).value();
  std::vector<sandbox::Sandbox> boxes;
  boxes.reserve(count);
  for (std::size_t i = 0; i < count; ++i) boxes.push_back(client.create().value());
  Samples all, few;
  std::uint64_t failed = 0;
  std::string first_error;
  double peak = 0;
  for (int round = -1; round < (config.quick ? 3 : 5); ++round) {
    for (const bool together : {true, false}) {
      const Round one = exec_everywhere(boxes, together ? count : 16);
      failed += one.failed;
      if (first_error.empty()) first_error = one.first_error;
      if (round >= 0) (together ? all : few).append(one.times);
      peak = std::max(peak, daemon.view().pss_kib);
    }
  }
  const auto view = daemon.view();
  for (auto& box : boxes) box.close().value();
  boxes.clear();
  client.close().value();
  auto result = summarise("daemon_sessions_1000", "ms", all, few);
  result.bar = "no error, daemon <= 200 MiB, p99 stated";
  result.pass = failed == 0 && peak <= 200 * 1024 && view.sandboxes == count;
  char text[240];
  std::snprintf(text, sizeof text,
                "; failed %llu%s%s; daemon's Pss %.1f MiB before, %.1f MiB at most; 16 at once (the floor's column): p99 %.2f ms",
                static_cast<unsigned long long>(failed), first_error.empty() ? "" : ": ", first_error.c_str(), before / 1024, peak / 1024,
                few.p99());
  result.method = std::to_string(count) + " sandboxes with a v2 session each; true is executed in all of them at once, from each call to "
                  "its answer" + std::string(text);
  return {result};
}

}  // namespace bench
