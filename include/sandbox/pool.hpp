#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <sandbox/spec.hpp>

namespace sandbox {

/// Numbers of one warm pool.
struct PoolStats {
  std::string profile;             ///< readable key of the spec
  std::uint32_t target = 0;        ///< members the pool now wants ready
  std::uint32_t ready = 0;
  std::uint32_t warming = 0;       ///< being made
  std::uint64_t hits = 0;          ///< creates served from the pool
  std::uint64_t misses = 0;        ///< creates that had to make one
  std::uint64_t replaced = 0;      ///< members found unhealthy and replaced
  std::uint64_t failures = 0;      ///< refills that failed
  std::chrono::nanoseconds refill_time{0};  ///< of the latest refill
};

/// What a runtime tells its observer. Delivered on the runtime's own thread; keep it short, do not call the runtime back.
struct RuntimeEvent {
  enum class Kind : std::uint8_t {
    created, destroyed, lost,            ///< lost: the sandbox ended by itself (agent died, host killed it)
    pool_refilled, pool_member_replaced, pool_refill_failed,
    template_saved, template_removed, launcher_restarted,
    adopted,                             ///< taken over from an earlier runtime
  };
  Kind kind = Kind::created;
  std::string sandbox_id;
  std::string detail;
  std::chrono::system_clock::time_point time;
};
using EventCallback = std::function<void(const RuntimeEvent&)>;

}  // namespace sandbox
