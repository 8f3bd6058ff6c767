#pragma once

#include <memory>

#include "core/clock.hpp"
#include "server/auth.hpp"
#include "server/events.hpp"
#include "server/log.hpp"
#include "server/metrics.hpp"
#include "server/rate_limit.hpp"
#include "server/store.hpp"

namespace sandbox::server {

/// Store::meta: id of the newest event.
inline constexpr const char* kLastEvent = "last_event";

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
