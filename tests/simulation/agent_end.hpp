#pragma once

#include <list>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/exec_table.hpp"
#include "agent/resumable.hpp"
#include "agent/server.hpp"
#include "simulation/ledger.hpp"
#include "simulation/random.hpp"
#include "simulation/wire.hpp"

namespace sandbox::simulation {

class AgentEnd;

/// An operation of the simulated agent. The real one's are left out by linking: the agent's library takes its operations
/// from process_operation() and file_operation(), which task.cpp defines.
class Task : public agent::Operation {
 public:
  Task(agent::Context context, AgentEnd& end, Attempt& attempt);
  ~Task() override;
  /// Some of what is left to do. Returns whether anything was done.
  virtual bool work(Random& random, bool all) = 0;
  bool over() const noexcept { return ended(); }

 protected:
  void check(bool holds, std::string_view what);
  void conclude(protocol::End end) override;
  /// Sends up to `most` more of `channel`'s content; true when something went.
  bool produce(unsigned channel, std::size_t most, bool fin_at_end);
  AgentEnd& end_;
  Attempt& attempt_;
  bool refused_[2] = {};
};

/// The agent: the real Agent, Server, Greeter, ResumableSessions and ExecTable on wires instead of sockets.
class AgentEnd {
 public:
  struct Policy {
    bool table = true;         ///< sessions in ResumableSessions; otherwise servers of our own with `options`
    core::Duration keep{};     ///< of the table: an hour or next to nothing, because its clock is the real one
    session::Options options;  ///< of our own servers
  };
  AgentEnd(Random& random, Ledger& ledger, agent::Loop& loop, Policy policy);
  ~AgentEnd();

  void accept(Wire& wire);
  /// Bytes arrive, or the end of them, on any one transport.
  bool arrive(bool all);
  /// One turn of the agent's loop: hooks send what is queued.
  void turn();
  /// Forgets a session that waits for its client, as when its time is over. False: none waits.
  bool forget();

  std::size_t sessions() const;
  std::vector<Task*> tasks;    ///< alive
  Attempt* attempt(std::string_view params);
  agent::ExecTable& execs() noexcept { return agent_->execs(); }
  agent::Loop& loop() noexcept { return loop_; }
  Ledger& ledger() noexcept { return ledger_; }
  std::vector<std::string>& hoard() noexcept { return hoard_; }

 private:
  struct Connection;
  struct Kept {
    std::string id;
    bool sealed = false;
    agent::ResumableSessions::Carrier* carrier = nullptr;
    std::unique_ptr<agent::Server> server;
  };
  Result<agent::Server*> attach(Connection& connection);
  void detach(Connection& connection);

  Random& random_;
  Ledger& ledger_;
  agent::Loop& loop_;
  Policy policy_;
  std::unique_ptr<agent::Agent> agent_;
  std::list<Kept> kept_;
  std::list<std::unique_ptr<Connection>> connections_;
  std::uint64_t next_id_ = 1;
  std::vector<std::string> hoard_;
};

}  // namespace sandbox::simulation
