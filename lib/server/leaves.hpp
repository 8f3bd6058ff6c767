#pragma once

#include <cstdint>
#include <memory>

#include "core/clock.hpp"
#include "server/auth.hpp"
#include "server/events.hpp"
#include "server/log.hpp"
#include "server/metrics.hpp"
#include "server/rate_limit.hpp"
#include "server/store.hpp"

namespace sandbox::server {

/// Store::meta: no event was told with a larger id. Ahead of the newest event's by up to kEventBlock while a daemon runs.
inline constexpr const char* kLastEvent = "last_event";
/// Ids that are set aside at a time. The next block is written down when half of one is used, so an id is told again only
/// by a daemon that was killed after half a block of events of which no write succeeded.
inline constexpr std::uint64_t kEventBlock = 100'000;

/// What the service stands on, owned together. All but the log, the store and the clock belong to the reactor thread.
struct Leaves {
  std::unique_ptr<core::Clock> clock;  ///< first: the others read it
  std::shared_ptr<Log> log;
  std::unique_ptr<Store> store;
  std::unique_ptr<Metrics> metrics;
  std::unique_ptr<EventLog> events;
  std::unique_ptr<Authenticator> authenticator;
  std::unique_ptr<RateLimiter> creations;
};

}  // namespace sandbox::server
