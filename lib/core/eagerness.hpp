#pragma once

#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <utility>

/// Whether to look for an answer, or for the next request, for a moment before sleeping until it comes (ADR 0015).
namespace sandbox::core {

/// On a virtual machine a sleep costs 50 to 200 µs when the processor halts, several times what an agent needs to answer a
/// small request. So whoever waits looks again and again for a moment, as long as that pays: not behind bulk, whose other end
/// needs the processor; not with others waiting, whose turn it would delay; and not where it has not been faster than sleeping:
/// on a busy machine the other end may wait for the very processor that looks, while no sleep is long.
/// When both ends look, a request costs no wake-up at all; when both sleep, each finds the other too slow for a short look, and
/// both would sleep for ever. So the look behind a pause, and the one behind the first miss of an end that has long been quick, is
/// long enough for the other to wake up.
/// Decides only; one thread at a time.
class Eagerness {
 public:
  using Time = std::chrono::nanoseconds;
  static constexpr Time kLook = std::chrono::microseconds(50);
  static constexpr Time kLong = std::chrono::microseconds(300);
  static constexpr std::size_t kSmall = 8 << 10;  ///< bytes; more is bulk
  static constexpr int kMisses = 2;               ///< in a row, then some waits are slept through at once:
  static constexpr int kPause = 16;               ///< so many, and twice as many each time that the look behind them misses
  static constexpr int kLongestPause = 128;
  static constexpr int kQuick = 4;                ///< looks in a row that something came in time for make an end a quick one

  /// With one processor the other end cannot run while this one looks. `pause`: so many waits before the first look.
  explicit Eagerness(bool several_processors = several(), int pause = 0) noexcept
      : possible_(several_processors), pause_(pause) {}
  /// Whether this host has several processors; asked once, because glibc reads a file of sysfs each time.
  static bool several() noexcept {
    static const bool answer = ::sysconf(_SC_NPROCESSORS_ONLN) > 1;
    return answer;
  }

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
  /// How long a look lasts that is worth it.
  Time span() const noexcept { return long_ ? kLong : kLook; }
  /// After a look of that length at most: whether something came, and when.
  void learned(bool came, Time took) noexcept {
    if (came) {
      misses_ = 0;
      quick_ = quick_ < kQuick ? quick_ + 1 : kQuick;
      next_pause_ = kPause;
      long_ = took > kLook;
      return;
    }
    if (!long_ && std::exchange(quick_, 0) == kQuick) {
      long_ = true;
      return;
    }
    if (!long_ && ++misses_ < kMisses) {
      late_ = true;  // the next wait tries what sleeping costs
      return;
    }
    misses_ = 0;
    pause_ = next_pause_;
    next_pause_ = next_pause_ < kLongestPause ? 2 * next_pause_ : kLongestPause;
    long_ = true;
  }
  /// After a wait that was slept through: how long it took.
  void slept(Time took) noexcept {
    if (trying_ && took < kLook) pause_ = kPause;
  }

 private:
  bool possible_;
  bool long_ = false;    ///< the next look
  bool late_ = false;    ///< the last look was
  bool trying_ = false;  ///< what sleeping costs, with this wait
  int misses_ = 0;
  int quick_ = 0;
  int pause_;
  int next_pause_ = kPause;
};

}  // namespace sandbox::core
