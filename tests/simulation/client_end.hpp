#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "session/endpoint.hpp"
#include "simulation/ledger.hpp"
#include "simulation/random.hpp"
#include "simulation/wire.hpp"

namespace sandbox::simulation {

class ClientEnd;

/// The client's handler of one attempt: sends what the job says, checks what comes.
class Call final : public session::StreamHandler {
 public:
  Call(ClientEnd& client, Attempt& attempt) : client_(client), attempt_(attempt) {}

  /// Some of what is left to do. `all`: as much as goes. Returns whether anything was done.
  bool work(Random& random, bool all);
  void cancel();
  void detach();
  Attempt& attempt() noexcept { return attempt_; }
  void opened(session::StreamId stream) noexcept { stream_ = stream; }

  void on_message(ByteView message) override;
  void on_data(session::Channel channel, ByteView data, bool fin) override;
  void on_writable(session::Channel channel) override;
  void on_drained() override;
  void on_end(const protocol::End& end) override;
  void on_lost(const Error& error) override;

 private:
  void alive(std::string_view what);
  void check(bool holds, std::string_view what);
  ClientEnd& client_;
  Attempt& attempt_;
  session::StreamId stream_ = 0;
  std::uint64_t owed_[2] = {};   ///< content not yet given back as credit
  bool refused_ = false;         ///< send() took less than offered
  bool full_ = false;            ///< can_message() said no
};

/// The client: a session and what a link does with it when its transport is lost (lib/link/reconnect.cpp, without threads
/// and sockets; keep the two alike). The world brings transports and time.
class ClientEnd final : public session::SessionHandler {
 public:
  struct Policy {
    bool sealed = false;
    bool reconnects = true;
    core::Duration window = std::chrono::seconds(30);
  };
  ClientEnd(Random& random, Ledger& ledger, session::Options options, Policy policy, core::TimePoint now);
  ~ClientEnd() override;

  // -- transports
  bool wants_transport() const noexcept { return down_ && !error_; }
  /// A dial succeeded.
  void install(Wire& wire);
  /// It failed, for good if `gone`.
  void refused(bool gone, core::TimePoint now);
  Wire* wire() noexcept { return wire_; }

  // -- steps; each returns whether anything happened
  bool pump(std::size_t rounds);
  bool arrive(std::size_t count);
  bool tick(core::TimePoint now);
  void ping();
  void open(Job& job);
  /// Ends the session and says so.
  void close();

  bool failed() const noexcept { return error_.has_value(); }
  bool silent_ever() const noexcept { return silences_ > 0; }
  session::Session& session() noexcept { return session_; }
  std::vector<std::unique_ptr<Call>>& calls() noexcept { return calls_; }
  Ledger& ledger() noexcept { return ledger_; }

  void on_pong(std::uint64_t nonce) override;

 private:
  void lose(const Error& why);
  void renew(const Error& why);
  void fail(const Error& why);
  void leave_wire();

  Random& random_;
  Ledger& ledger_;
  const session::Options options_;
  const Policy policy_;
  core::TimePoint now_;
  session::Session session_;
  std::optional<session::Endpoint> endpoint_;
  Wire* wire_ = nullptr;
  std::optional<Error> error_;
  bool down_ = true, begun_ = false;
  core::TimePoint give_up_at_;
  std::optional<Fingerprint> seen_;
  std::uint64_t next_nonce_ = 1, silences_ = 0;
  std::vector<std::unique_ptr<Call>> calls_;
};

}  // namespace sandbox::simulation
