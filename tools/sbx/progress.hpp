#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>

namespace sbx {

/// One line on standard error, redrawn ten times a second by a thread of its own, from the first quarter second on; gone
/// when this ends. `total` 0: not known, then what was moved and the rate are shown. advance() from any thread.
class Progress {
 public:
  Progress(bool show, std::string label, std::uint64_t total);
  ~Progress();
  Progress(const Progress&) = delete;
  void advance(std::uint64_t bytes) { moved_ += bytes; }

 private:
  void run();

  std::string label_;
  std::uint64_t total_;
  std::atomic<std::uint64_t> moved_{0};
  std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false;
  std::thread thread_;
};

}  // namespace sbx
