#include "server/lifecycle.hpp"

#include <algorithm>
#include <utility>

namespace sandbox::server {

Lifecycle::Attached Lifecycle::attached() {
  Attached result;
  result.reconnected = std::exchange(disconnected_, false);
  if (result.reconnected) result.disconnected_at = disconnected_at_;
  deadline_ = core::TimePoint::max();
  keep_tunnels_ = false;
  return result;
}

Lifecycle::Attached Lifecycle::attach_v1(SessionNumber session) {
  Attached result = attached();
  result.replaced = std::exchange(v1_, session);
  // Taking over is no reconnection: the old client read everything up to now, or was told that it is replaced.
  result.resumed = had_v1_ && !result.replaced;
  had_v1_ = true;
  return result;
}

Lifecycle::Attached Lifecycle::attach_v2(SessionNumber session) {
  Attached result = attached();
  v2_.insert(session);
  return result;
}

Lifecycle::After Lifecycle::detach(SessionNumber session, SessionEnd how, core::TimePoint now, WallTime wall) {
  if (v1_ == session) {
    v1_.reset();
    how = SessionEnd::closed;
  } else if (v2_.erase(session) == 0) {
    return After::nothing;
  }
  if (how == SessionEnd::cut) resumable_until_ = now + resume_grace_;
  if (sessions() > 0) return After::nothing;
  const bool resumable = resumable_until_ > now;
  if (ttl_ <= std::chrono::seconds::zero() && !resumable) return After::destroy;
  disconnected_ = true;
  disconnected_at_ = wall;
  deadline_ = std::max(now + std::max(ttl_, std::chrono::seconds::zero()), resumable_until_);
  keep_tunnels_ = resumable;
  return After::disconnect;
}

void Lifecycle::restore(bool disconnected, WallTime disconnected_at, core::TimePoint deadline, bool keep_tunnels, bool had_v1) {
  disconnected_ = disconnected;
  disconnected_at_ = disconnected_at;
  deadline_ = disconnected ? deadline : core::TimePoint::max();
  keep_tunnels_ = disconnected && keep_tunnels;
  had_v1_ = had_v1;
}

}  // namespace sandbox::server
