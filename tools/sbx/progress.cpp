#include "progress.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "text.hpp"

namespace sbx {

Progress::Progress(bool show, std::string label, std::uint64_t total) : label_(std::move(label)), total_(total) {
  if (show) thread_ = std::thread([this] { run(); });
}

Progress::~Progress() {
  {
    const std::scoped_lock lock(mutex_);
    done_ = true;
  }
  changed_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void Progress::run() {
  const auto begin = std::chrono::steady_clock::now();
  std::unique_lock lock(mutex_);
  auto wait = std::chrono::milliseconds(250);
  bool drawn = false;
  while (!changed_.wait_for(lock, wait, [&] { return done_; })) {
    wait = std::chrono::milliseconds(100);
    drawn = true;
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    const auto moved = moved_.load();
    const auto rate = human_size(static_cast<std::uint64_t>(static_cast<double>(moved) / seconds));
    if (total_ != 0) {
      const int width = static_cast<int>(static_cast<double>(moved) / static_cast<double>(total_) * 24);
      std::fprintf(stderr, "\r\033[K%s  [%-24.*s] %s of %s, %s/s", label_.c_str(), std::min(width, 24),
                   "########################", human_size(moved).c_str(), human_size(total_).c_str(), rate.c_str());
    } else if (moved != 0) {
      std::fprintf(stderr, "\r\033[K%s  %s, %s/s", label_.c_str(), human_size(moved).c_str(), rate.c_str());
    } else {
      std::fprintf(stderr, "\r\033[K%s  %.1f s", label_.c_str(), seconds);
    }
  }
  if (drawn) std::fputs("\r\033[K", stderr);
}

}  // namespace sbx
