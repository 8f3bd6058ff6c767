#pragma once

#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <utility>

/// Whether to look for an answer for a moment before sleeping until it comes.
namespace sandbox::link {

/// On a virtual machine a sleep costs 50 to 100 µs when the processor halts, several times what an agent needs to answer a
/// small request. So whoever waits looks again and again for kLook, as long as that pays: not behind bulk, whose other end
/// needs the processor; not with others waiting, whose turn it would delay; and not where it has not been faster than sleeping:
/// on a busy machine the other end may wait for the very processor that looks, while no sleep is long.
/// Decides only; one thread at a time.
class Eagerness {
 public:
  static constexpr auto kLook = std::chrono::microseconds(50);
  static constexpr std::size_t kSmall = 8 << 10;  ///< bytes; more is bulk
  static constexpr int kMisses = 2;               ///< in a row, then kPause waits are slept through at once
  static constexpr int kPause = 16;

  /// With one processor the other end cannot run while this one looks.
  explicit Eagerness(bool several_processors = ::sysconf(_SC_NPROCESSORS_ONLN) > 1) noexcept : possible_(several_processors) {}

  /// `moved`: bytes both ways since the last wait.
  bool worth(std::size_t moved, std::size_t waiters) noexcept {
    trying_ = false;
    if (!possible_ || waiters > 1 || moved > kSmall) return false;
    if (pause_ > 0) {
      --pause_;
      return false;
    }
    trying_ = std::exchange(late_, false);
    return !trying_;
  }
  /// After a look: whether something came in time. Behind one that came too late the next wait tries what sleeping costs.
  void learned(bool came) noexcept {
    late_ = !came;
    misses_ = came ? 0 : misses_ + 1;
    if (misses_ < kMisses) return;
    misses_ = kMisses - 1;  // the one look after a pause decides
    pause_ = kPause;
  }
  /// After a wait that was slept through: how long it took.
  void slept(std::chrono::nanoseconds took) noexcept {
    if (trying_ && took < kLook) pause_ = kPause;
  }

 private:
  bool possible_;
  bool late_ = false;    ///< the last look was
  bool trying_ = false;  ///< what sleeping costs, with this wait
  int misses_ = 0;
  int pause_ = 0;
};

}  // namespace sandbox::link
