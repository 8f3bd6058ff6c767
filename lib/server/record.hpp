#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include <sandbox/net.hpp>
#include <sandbox/service.hpp>

#include "runtime/local_box.hpp"
#include "runtime/port_relay.hpp"
#include "server/lifecycle.hpp"
#include "server/quota.hpp"
#include "server/relay.hpp"
#include "server/socket_relay.hpp"

namespace sandbox::server {

/// A host port that leads inside.
struct Tunnel {
  std::shared_ptr<runtime::PortRelay> relay;  ///< null while the port inside is waited for
  ExposedPort port;
};

/// One look at a sandbox's CPU time.
struct CpuSample {
  std::chrono::nanoseconds used{0};
  core::TimePoint at{};
};

/// Everything the daemon knows of one sandbox. Reactor thread only; found by id as long as the sandbox may be used.
struct Record {
  Record(std::chrono::seconds ttl, core::Duration resume_grace) : life(ttl, resume_grace) {}

  std::string id;
  std::string owner;        ///< identity; empty: none
  std::string image;        ///< for people
  std::string profile;
  std::string template_id;  ///< of the service, not of the runtime
  Labels labels;
  WallTime created{};
  std::shared_ptr<driver::Box> box;
  std::unique_ptr<Quota::Reservation> place;
  Lifecycle life;
  bool paused = false;
  bool gone = false;        ///< taken out of the registry: being destroyed, or lost

  std::shared_ptr<V1Relay> v1;                               ///< the current one
  std::map<SessionNumber, std::shared_ptr<SessionRelay>> sessions;  ///< all of them, replaced ones too until they are over
  std::set<std::shared_ptr<SocketRelay>> connections;        ///< …/connect
  std::map<std::uint16_t, Tunnel> tunnels;
  std::optional<CpuSample> cpu;

  SandboxState state() const noexcept {
    if (paused) return SandboxState::paused;
    return life.disconnected() ? SandboxState::disconnected : SandboxState::running;
  }
  SandboxInfo info() const;
};

using RecordPtr = std::shared_ptr<Record>;

}  // namespace sandbox::server
