#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <set>

#include <sandbox/service.hpp>

#include "core/clock.hpp"

/// Whether a sandbox has a session, and what the end of one means. Sans-I/O, one thread.
namespace sandbox::server {

using SessionNumber = std::uint64_t;
using WallTime = std::chrono::system_clock::time_point;

/// How a session ended.
enum class SessionEnd : std::uint8_t {
  closed,  ///< on purpose: the ttl counts from now
  cut,     ///< v2: the connection broke; the client may come back
};

/// One sandbox's sessions. v1 allows one at a time (a new one takes over); v2 any number, beside it too. The ttl clock runs
/// only while there is none, and begins with the end of the first: a sandbox that never had one waits for ever.
class Lifecycle {
 public:
  /// `resume_grace`: how long a sandbox outlives a v2 session that was cut off rather than closed, whatever its ttl.
  Lifecycle(std::chrono::seconds ttl, core::Duration resume_grace) : ttl_(ttl), resume_grace_(resume_grace) {}

  struct Attached {
    std::optional<SessionNumber> replaced;  ///< the v1 session that is current no more
    bool reconnected = false;               ///< the sandbox was disconnected; call off its end
    WallTime disconnected_at{};             ///< since when; meaningful when reconnected
    bool resumed = false;                   ///< v1: what was kept for a v1 client is to be replayed
  };
  Attached attach_v1(SessionNumber session);
  Attached attach_v2(SessionNumber session);

  /// What the owner does after a session's end.
  enum class After : std::uint8_t {
    nothing,     ///< others remain, or it was replaced before
    disconnect,  ///< state is `disconnected` now; destroy at deadline()
    destroy,     ///< at once
  };
  After detach(SessionNumber session, SessionEnd how, core::TimePoint now, WallTime wall);

  /// A daemon that starts again finds it: without a session, to be destroyed at `deadline` unless there is none.
  void restore(bool disconnected, WallTime disconnected_at, core::TimePoint deadline, bool keep_tunnels, bool had_v1);

  bool disconnected() const noexcept { return disconnected_; }
  WallTime disconnected_at() const noexcept { return disconnected_at_; }
  core::TimePoint deadline() const noexcept { return deadline_; }
  /// Ports stay open while a client that was cut off may come back.
  bool keep_tunnels() const noexcept { return keep_tunnels_; }
  /// Whether a v1 client was ever here, so that one that comes is told what it missed.
  bool had_v1() const noexcept { return had_v1_; }
  std::chrono::seconds ttl() const noexcept { return ttl_; }
  std::optional<SessionNumber> current_v1() const noexcept { return v1_; }
  std::size_t sessions() const noexcept { return v2_.size() + (v1_ ? 1 : 0); }

 private:
  Attached attached();

  const std::chrono::seconds ttl_;
  const core::Duration resume_grace_;
  std::optional<SessionNumber> v1_;
  std::set<SessionNumber> v2_;
  bool had_v1_ = false;
  bool disconnected_ = false;
  bool keep_tunnels_ = false;
  WallTime disconnected_at_{};
  core::TimePoint deadline_ = core::TimePoint::max();
  core::TimePoint resumable_until_{};  ///< a v2 client that was cut off may come back until then
};

}  // namespace sandbox::server
