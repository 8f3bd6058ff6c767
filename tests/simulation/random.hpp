#pragma once

#include <cstddef>
#include <cstdint>

namespace sandbox::simulation {

/// The one source of chance of a schedule: the same seed makes the same schedule everywhere (SplitMix64, so that
/// neighbouring seeds have nothing in common).
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() noexcept {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  /// 0 … bound - 1; 0 for a bound of 0.
  std::uint64_t below(std::uint64_t bound) noexcept { return bound == 0 ? 0 : next() % bound; }
  std::uint64_t between(std::uint64_t low, std::uint64_t high) noexcept { return low + below(high - low + 1); }
  bool chance(unsigned of_a_thousand) noexcept { return below(1000) < of_a_thousand; }
  /// A size as they occur: mostly a few bytes, often some hundred, sometimes all of `most`. At least 1 unless most is 0.
  std::size_t size(std::size_t most) noexcept {
    if (most <= 1) return most;
    switch (below(4)) {
      case 0: return 1 + below(most < 24 ? most : 24);
      case 1: return 1 + below(most < 600 ? most : 600);
      case 2: return 1 + below(most);
      default: return most;
    }
  }

 private:
  std::uint64_t state_;
};

}  // namespace sandbox::simulation
