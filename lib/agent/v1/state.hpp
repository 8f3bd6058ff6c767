#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "agent/retired.hpp"
#include "agent/v1/connection.hpp"
#include "agent/v1/fetch.hpp"
#include "agent/v1/loopback.hpp"
#include "agent/v1/notices.hpp"
#include "agent/v1/paths.hpp"
#include "agent/v1/programs.hpp"

/// The v1 dialect of one agent: everything that outlives a client's connection. On the loop's thread only.
namespace sandbox::agent::v1 {

/// What the state wants of whoever carries its connection, besides bytes.
class Attachment : public Connection::Carrier {
 public:
  /// Another client came, or the agent ends: no more calls after this one.
  virtual void replaced() = 0;
};

class State {
 public:
  explicit State(Agent& agent);
  ~State();
  State(const State&) = delete;

  Agent& agent() noexcept { return agent_; }
  Loop& loop() noexcept { return agent_.loop(); }
  session::Session& loopback() noexcept { return loopback_.client(); }
  const Paths& paths() const noexcept { return paths_; }
  Programs& programs() noexcept { return programs_; }
  Fetches& fetches() noexcept { return fetches_; }
  std::map<std::string, std::string, std::less<>>& environment() noexcept { return environment_; }

  /// A client attaches; the one before is detached and told. `resumed`: it comes back after a time without any; what was
  /// kept is replayed. `sandbox`: its name of this sandbox. Valid until detach() or attachment.replaced().
  Connection& attach(Attachment& attachment, bool resumed, std::string sandbox);
  void detach(Attachment& attachment);

  void dispatch(Connection& connection, Request request);
  /// Answers go to the connection the request came on, if it is still there.
  void answer(const Caller& caller, std::string result);
  void refuse(const Caller& caller, std::string_view text, int code = -32000);
  /// The connection of `caller`, or null.
  Connection* connection_of(const Caller& caller) noexcept;

  /// Owns work that goes on between turns of the loop until it says release(). It may do so from inside a member.
  void hold(std::shared_ptr<void> job);
  void release(const void* job);

  /// To the client, or kept until there is one.
  void notify(Notice notice);
  void give_back(const Credit& credit);
  /// A binary message that belongs to no upload: a process number of four bytes and input for its terminal.
  void terminal_input(std::string_view payload);

 private:
  void negotiate(Connection& connection, const Request& request);
  void announce(Connection& connection);
  void keep(Notice notice);

  Agent& agent_;
  Paths paths_;
  std::map<std::string, std::string, std::less<>> environment_;
  std::unordered_map<const void*, std::shared_ptr<void>> jobs_;   ///< before the loopback: its handlers outlive it
  Retired retired_;                                               ///< jobs and connections that are over
  Loopback loopback_;
  Programs programs_;
  Fetches fetches_;

  Attachment* attachment_ = nullptr;
  std::unique_ptr<Connection> connection_;
  std::uint64_t next_number_ = 1;
  std::string sandbox_;
  NoticeBuffer kept_;
  bool kept_secret_ = false;   ///< was meant for an encrypted connection: never replayed in clear
  bool undecided_ = false;     ///< so the replay waits until the client has shown whether it negotiates
  std::int64_t detached_at_ = 0;   ///< Unix seconds; 0: never
};

}  // namespace sandbox::agent::v1
