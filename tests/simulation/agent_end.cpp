#include "simulation/agent_end.hpp"

#include <charconv>
#include <iterator>
#include <utility>

#include "agent/sessions.hpp"

namespace sandbox::simulation {

using agent::ResumableSessions;
using agent::Server;

/// One transport at the agent; does what the stream of a nested session does (lib/agent/nested.cpp).
struct AgentEnd::Connection final : ResumableSessions::Carrier {
  Connection(AgentEnd& end, Wire& at) : owner(end), wire(at), greeter(*end.agent_) {}

  std::size_t write(ByteView bytes) override { return over ? 0 : wire.to_client.put(bytes); }
  void replaced() override {
    ++owner.ledger_.counters.replaced;
    server = nullptr;
    leave();
  }
  void leave() {
    over = true;
    wire.agent_left = true;
    wire.to_client.end(wire.to_client.under_way().size());
  }
  /// The agent's part of the handshake, as far as it fits.
  void say() {
    for (ByteView out = greeter.output(); !out.empty(); out = greeter.output()) {
      const std::size_t taken = write(out);
      if (taken == 0) return;
      greeter.sent(taken);
    }
  }
  Result<void> greet(ByteView bytes) {
    auto known = greeter.feed(bytes);
    say();
    if (!known) return std::move(known).error();
    if (!*known) return {};
    SANDBOX_TRY(server, owner.attach(*this));
    return {};
  }

  AgentEnd& owner;
  Wire& wire;
  agent::Greeter greeter;
  Server* server = nullptr;
  bool over = false;
};

AgentEnd::AgentEnd(Random& random, Ledger& ledger, agent::Loop& loop, Policy policy)
    : random_(random),
      ledger_(ledger),
      loop_(loop),
      policy_(std::move(policy)),
      agent_(std::make_unique<agent::Agent>(loop, agent::Agent::Settings{})) {
  ledger_.forgets = policy_.table && policy_.keep < std::chrono::hours(1);
}

AgentEnd::~AgentEnd() {
  for (auto& connection : connections_) {
    if (connection->over) continue;
    connection->over = true;  // the agent is gone: what it would still say is not heard
    connection->wire.agent_left = true;
    connection->wire.to_client.end(random_.below(connection->wire.to_client.under_way().size() + 1));
  }
  kept_.clear();
  agent_.reset();
}

void AgentEnd::accept(Wire& wire) { connections_.push_back(std::make_unique<Connection>(*this, wire)); }

Result<Server*> AgentEnd::attach(Connection& connection) {
  if (policy_.table) return agent_->sessions().resumable().attach(connection.greeter, connection, policy_.keep, 1);
  const protocol::Hello& hello = connection.greeter.hello();
  Kept* kept = nullptr;
  for (Kept& one : kept_)
    if (hello.resumable && one.id == hello.session_id && one.sealed == connection.greeter.sealed()) kept = &one;
  if (kept) {
    if (auto* earlier = std::exchange(kept->carrier, nullptr)) {
      kept->server->disconnected();
      earlier->replaced();
    }
  } else {
    session::Options options = policy_.options;
    options.hello.session_id = "session " + std::to_string(next_id_++);
    options.resumable = hello.resumable;
    kept = &kept_.emplace_back(Kept{options.hello.session_id, connection.greeter.sealed(), nullptr, nullptr});
    kept->server = std::make_unique<Server>(*agent_, std::move(options), Server::Write(), 1);
  }
  kept->carrier = &connection;
  Server& server = *kept->server;
  auto connected = server.connected([&connection](ByteView bytes) { return connection.write(bytes); },
                                    connection.greeter.take_channel(), connection.greeter.said());
  if (connected) return &server;
  server.flush();
  kept_.remove_if([kept](const Kept& one) { return &one == kept; });
  return std::move(connected).error();
}

void AgentEnd::detach(Connection& connection) {
  connection.server = nullptr;
  if (policy_.table) return agent_->sessions().resumable().detach(connection);
  for (auto at = kept_.begin(); at != kept_.end(); ++at) {
    if (at->carrier != &connection) continue;
    at->carrier = nullptr;
    Server& server = *at->server;
    if (server.closed_by_client() || !server.session().ready() || !server.session().peer().resumable)
      ledger_.forgets = true, kept_.erase(at);
    else
      server.disconnected();
    return;
  }
}

bool AgentEnd::arrive(bool all) {
  bool done = false;
  const std::size_t chosen = random_.below(connections_.size());
  std::size_t i = 0;
  for (auto at = connections_.begin(); at != connections_.end();) {
    Connection& connection = **at;
    if (!all && i++ != chosen) {
      ++at;
      continue;
    }
    Wire& wire = connection.wire;
    bool gone = connection.over;
    if (!gone && !wire.hole && wire.to_agent.at_end()) {
      detach(connection);
      connection.leave();
      gone = done = true;
    } else if (!gone && !wire.hole) {
      const std::size_t under_way = wire.to_agent.under_way().size();
      const std::string bytes = wire.to_agent.take(all ? under_way : random_.size(under_way));
      if (!bytes.empty()) {
        done = true;
        if (ledger_.mutation == Mutation::hoard)
          ++ledger_.counters.applied, hoard_.push_back(std::string(1 << 20, 'h'));
        const auto result = connection.server ? connection.server->receive(as_bytes(std::string_view(bytes)))
                                              : connection.greet(as_bytes(std::string_view(bytes)));
        if (!result) {
          const auto code = result.error().code();
          // What a client says that closes, and one that resumes what was forgotten, is no mistake of either end.
          const bool forgotten =
              ledger_.forgets && code == ErrorCode::protocol && result.error().message() == "unexpected resume";
          // Nor is a goodbye instead of an introduction.
          const bool goodbye = !connection.server && wire.client_left && code == ErrorCode::protocol;
          if (code != ErrorCode::cancelled && code != ErrorCode::unavailable && !forgotten && !goodbye)
            ledger_.fail("the agent finds the client's words broken: " + result.error().to_string());
          else
            result.error().ignore("the transport ends");
          if (connection.server) connection.server->flush();
          detach(connection);
          connection.leave();
          gone = true;
        }
      }
    }
    if (gone)
      at = connections_.erase(at);
    else
      ++at;
  }
  return done;
}

void AgentEnd::turn() {
  for (auto& connection : connections_)
    if (!connection->over && !connection->server) connection->say();
  loop_.turn(core::Duration::zero());
}

bool AgentEnd::forget() {
  for (auto at = kept_.begin(); at != kept_.end(); ++at) {
    if (at->carrier) continue;
    ++ledger_.counters.forgotten;
    ledger_.forgets = true;
    at->server->close(Error(ErrorCode::unavailable, "the session is over"));
    kept_.erase(at);
    return true;
  }
  return false;
}

std::size_t AgentEnd::sessions() const { return kept_.size() + agent_->sessions().resumable().size(); }

Attempt* AgentEnd::attempt(std::string_view params) {
  std::uint32_t number = 0;
  const auto [end, error] = std::from_chars(params.data(), params.data() + params.size(), number);
  if (error != std::errc() || end != params.data() + params.size() || number == 0 || number > ledger_.attempts.size())
    return nullptr;
  return &ledger_.attempts[number - 1];
}

}  // namespace sandbox::simulation
