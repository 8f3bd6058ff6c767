#pragma once

#include <memory>
#include <string>

#include "agent/server.hpp"
#include "core/unique_fd.hpp"

/// The one client an agent serves directly, and how another one takes its place.
namespace sandbox::agent {

/// The top session of an agent on its socket. Without a door the agent's life ends with that socket. With one (a
/// SOCK_SEQPACKET socket to whoever keeps the sandbox) a lost client is waited for: each packet there brings a connected
/// stream socket, whose client gets a session of its own from the start; one that is still there is dropped for it. What
/// the agent holds itself (environment, processes, keys of execs, kept sessions) stays. A lost door ends the agent.
class Transport {
 public:
  /// `door` may be none.
  Transport(Agent& agent, core::UniqueFd socket, core::UniqueFd door);
  ~Transport();
  Transport(const Transport&) = delete;

  /// Starts listening; `own_status` as for collect_facts(). Errors: those of epoll_ctl(2).
  Result<void> start(std::string_view own_status);

 private:
  Result<void> serve(core::UniqueFd socket, std::string_view own_status);
  void open_door(std::uint32_t events);

  Agent& agent_;
  core::UniqueFd first_, door_;
  std::unique_ptr<SocketServer> top_;
  std::uint64_t retire_slice_ = 0;   ///< 0: none is under way
};

}  // namespace sandbox::agent
