#pragma once

#include "agent/server.hpp"

/// A v2 session of the agent with itself, in memory: how the v1 dialect runs programs and walks trees with the operations
/// that serve v2 clients, their credit and their slices.
namespace sandbox::agent::v1 {

class Loopback final : private session::SessionHandler {
 public:
  /// Output a program may write ahead of what was taken, per channel.
  static constexpr std::uint64_t kWindow = 256 << 10;

  explicit Loopback(Agent& agent);
  ~Loopback() override;
  Loopback(const Loopback&) = delete;

  /// The client's end. Handlers are called from the loop only, never from inside a call of this session's members
  /// (but for open(), which reports refusals at once).
  session::Session& client() noexcept { return client_; }

  /// Runs before the hook of every server that exists now: what answers produce leaves in the same turn. Call it when a
  /// client's stream attaches, which may come through a server newer than this.
  void run_first();

 private:
  void pump();

  Agent& agent_;
  Server server_;
  session::Session client_;
  bool moved_ = false;
  std::uint64_t hook_ = 0;
};

}  // namespace sandbox::agent::v1
