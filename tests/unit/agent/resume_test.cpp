#include <signal.h>

#include <gtest/gtest.h>

#include "agent/sessions.hpp"
#include "protocol/frame.hpp"
#include "session/endpoint.hpp"
#include "unit/agent/harness.hpp"

namespace sandbox::agent::testing {
namespace {

using protocol::Method;

/// A client of a nested session on transports (streams of the outer session) that break after so many bytes.
class Traveller : public session::SessionHandler {
 public:
  enum class End { cancel, fin, forget };
  static constexpr std::size_t kEndless = ~std::size_t{0};

  explicit Traveller(Harness& harness, bool sealed = false, std::uint32_t keep_ms = 60000)
      : harness_(harness), sealed_(sealed), keep_ms_(keep_ms), session(session::Role::client, options(), *this) {
    hook_ = harness_.loop.before_sleep([this] { pump(); });
  }
  ~Traveller() override {
    drop(End::cancel);
    // Streams of transports that were dropped may still be open, and the outer session outlives us.
    for (const auto& transport : transports_) harness_.client->session.detach(transport->id);
    harness_.loop.remove_hook(hook_);
  }

  /// The next transport: `budget` bytes pass, both directions together.
  void connect(std::size_t budget = kEndless) {
    budget_ = budget;
    transports_.push_back(std::make_unique<Transport>(*this));
    transport_ = transports_.back().get();
    protocol::SessionRequest request;
    request.dialect = "v2";
    request.keep_ms = keep_ms_;
    transport_->session = &harness_.client->session;
    transport_->id = harness_.client->session.open(Method::session, protocol::encode(request), transport_);
    if (sealed_) endpoint_.emplace(session, crypto::SecureChannel::client({}).value());
    else endpoint_.emplace(session);
    if (connected_before_) session.resume().value();
    connected_before_ = true;
  }
  void drop(End how) {
    if (!transport_) return;
    session::Session& outer = harness_.client->session;
    if (how == End::cancel) outer.cancel(transport_->id);
    if (how == End::fin) outer.send(transport_->id, Channel::in, {}, true);
    transport_ = nullptr;
    endpoint_.reset();
    session.disconnected();
  }
  bool up() const { return transport_ != nullptr; }
  /// Whether the budget is used up.
  bool cut() const { return budget_ == 0; }
  std::size_t spent() const { return spent_; }
  Call& transport() { return *transports_.back(); }

  std::shared_ptr<Call> exec(const protocol::ExecRequest& request) {
    auto call = std::make_shared<Call>();
    call->session = &session;
    calls_.push_back(call);
    call->id = session.open(Method::exec, protocol::encode(request), call.get());
    return call;
  }

 private:
  struct Transport : Call {
    explicit Transport(Traveller& owner) : owner_(owner) {}
    void on_data(Channel channel, ByteView data, bool) override {
      session->consumed(id, channel, data.size());
      if (owner_.transport_ != this) return;
      const auto part = data.first(owner_.spend(data.size()));
      if (!part.empty()) owner_.received = owner_.endpoint_->receive(part).has_value();
    }
    void on_writable(Channel) override {}
    Traveller& owner_;
  };

  static session::Options options() {
    session::Options made;
    made.resumable = made.hold_until_ready = true;
    return made;
  }
  std::size_t spend(std::size_t wanted) {
    const std::size_t part = std::min(wanted, budget_);
    if (budget_ != kEndless) budget_ -= part;
    spent_ += part;
    return part;
  }
  void pump() {
    while (transport_ && budget_ > 0) {
      const ByteView bytes = endpoint_->output();
      if (bytes.empty()) return;
      const std::size_t taken = harness_.client->session.send(transport_->id, Channel::in, bytes.first(std::min(bytes.size(), budget_)));
      if (taken == 0) return;
      spend(taken);
      endpoint_->sent(taken);
    }
  }

  Harness& harness_;
  const bool sealed_;
  const std::uint32_t keep_ms_;
  std::size_t budget_ = kEndless, spent_ = 0;
  std::uint64_t hook_ = 0;
  bool connected_before_ = false;
  std::vector<std::unique_ptr<Transport>> transports_;
  Transport* transport_ = nullptr;
  std::vector<std::shared_ptr<Call>> calls_;

 public:
  session::Session session;
  bool received = true;

 private:
  std::optional<session::Endpoint> endpoint_;
};

class AgentResume : public ::testing::Test {
 protected:
  AgentResume() { harness.run_until([&] { return harness.client->hello.has_value(); }); }
  ResumableSessions& kept() { return harness.agent.sessions().resumable(); }
  void wait(core::Duration time) {
    const auto until = core::SteadyClock::now() + time;
    while (core::SteadyClock::now() < until) harness.loop.turn(10ms);
  }

  /// One conversation that is cut after `budget` bytes, in a way that depends on it. Returns the bytes it took.
  std::size_t converse(bool sealed, std::size_t budget) {
    Traveller traveller(harness, sealed);
    traveller.connect(budget);
    protocol::ExecRequest request;
    request.shell = "cat; echo end >&2; exit 7";
    request.stdin_open = true;
    const auto call = traveller.exec(request);
    std::string text;
    for (int i = 0; i < 60; ++i) text += "line " + std::to_string(i) + "\n";
    call->feed(text);
    const auto done = [&] { return call->end.has_value() || call->lost.has_value(); };
    harness.run_until([&] { return done() || traveller.cut(); });
    if (traveller.cut() && !done()) {
      traveller.drop(static_cast<Traveller::End>(budget % 3));
      for (std::size_t turns = 0; turns < budget % 4; ++turns) harness.loop.turn(0ms);
      traveller.connect();
    }
    EXPECT_TRUE(harness.run_until(done)) << "cut after " << budget;
    EXPECT_FALSE(call->lost) << "cut after " << budget;
    EXPECT_EQ(call->out, text) << "cut after " << budget;
    EXPECT_EQ(call->err, "end\n") << "cut after " << budget;
    if (call->ok()) {
      EXPECT_EQ(call->result().exit_code, 7u);
    }
    return traveller.spent();
  }

  Harness harness;
};

TEST_F(AgentResume, ACutAfterAnyByteLosesAndDoublesNothing) {
  const std::size_t length = converse(false, Traveller::kEndless);
  for (std::size_t cut = 1; cut <= length && !HasFailure(); ++cut) converse(false, cut);
}

TEST_F(AgentResume, SealedSessionsToo) {
  const std::size_t length = converse(true, Traveller::kEndless);
  for (std::size_t cut = 1; cut <= length && !HasFailure(); cut += 3) converse(true, cut);
}

TEST_F(AgentResume, ProgramsPauseWhenNobodyTakesTheirOutputAndGoOn) {
  Traveller traveller(harness);
  traveller.connect();
  const auto call = traveller.exec(shell_request("head -c 20000000 /dev/zero; echo over >&2"));
  ASSERT_TRUE(harness.run_until([&] { return call->received > 100000; }));
  traveller.drop(Traveller::End::forget);
  harness.client->session.cancel(traveller.transport().id);
  wait(200ms);
  EXPECT_EQ(kept().waiting(), 1u);
  EXPECT_EQ(::kill(static_cast<pid_t>(call->pid()), 0), 0);   // it waits in a write
  traveller.connect();
  ASSERT_TRUE(harness.run_until([&] { return call->end.has_value(); }));
  EXPECT_EQ(call->out.size(), 20000000u);
  EXPECT_EQ(call->err, "over\n");
  EXPECT_EQ(kept().waiting(), 0u);
}

TEST_F(AgentResume, TheClientMayNoticeTheLossFirst) {
  Traveller traveller(harness);
  traveller.connect();
  const auto call = traveller.exec(shell_request("sleep 0.2; echo done"));
  ASSERT_TRUE(harness.run_until([&] { return call->started(); }));
  Call& earlier = traveller.transport();
  traveller.drop(Traveller::End::forget);
  traveller.connect();
  ASSERT_TRUE(harness.run_until([&] { return call->end.has_value(); }));
  EXPECT_EQ(call->out, "done\n");
  EXPECT_TRUE(earlier.ok());   // its stream ended when the other took over
}

TEST_F(AgentResume, ASessionEndsWhenItsTimeIsOver) {
  Traveller traveller(harness, false, 200);
  traveller.connect();
  const auto call = traveller.exec(shell_request("exec sleep 60"));
  ASSERT_TRUE(harness.run_until([&] { return call->started(); }));
  const auto pid = static_cast<pid_t>(call->pid());
  traveller.drop(Traveller::End::cancel);
  wait(100ms);
  EXPECT_EQ(::kill(pid, 0), 0);
  EXPECT_TRUE(harness.run_until([&] { return ::kill(pid, 0) != 0; }, 5s));
  EXPECT_EQ(kept().size(), 0u);
  traveller.connect();
  ASSERT_TRUE(harness.run_until([&] { return traveller.session.failed() || !traveller.received; }, 5s));
}

TEST_F(AgentResume, ASessionThatItsClientClosedIsNotKept) {
  Traveller traveller(harness);
  traveller.connect();
  const auto call = traveller.exec(shell_request("exec sleep 60"));
  ASSERT_TRUE(harness.run_until([&] { return call->started(); }));
  const auto pid = static_cast<pid_t>(call->pid());
  traveller.session.fail(Error(ErrorCode::cancelled, "enough"));
  EXPECT_TRUE(harness.run_until([&] { return ::kill(pid, 0) != 0; }, 5s));
  traveller.drop(Traveller::End::fin);
  EXPECT_TRUE(harness.run_until([&] { return kept().size() == 0; }, 5s));
}

TEST_F(AgentResume, WithoutKeepNothingIsKept) {
  Traveller traveller(harness, false, 0);
  traveller.connect();
  ASSERT_TRUE(harness.run_until([&] { return !traveller.received || traveller.session.ready() || traveller.session.failed(); }, 5s));
  EXPECT_EQ(kept().size(), 0u);
}

/// Opens a transport for `id` by hand and tells which session answered.
std::string answered_by(Harness& harness, const std::string& id, bool sealed) {
  session::Options options;
  options.resumable = true;
  struct Peer : session::SessionHandler {
    void on_ready(const protocol::Hello& hello) override { answered = hello.session_id; }
    std::string answered;
  } peer;
  session::Session probe(session::Role::client, options, peer);
  // The hello as a client that comes back would write it.
  protocol::Hello hello;
  hello.version = protocol::kVersion;
  hello.window = 1 << 20;
  hello.max_frame = 1 << 20;
  hello.resumable = true;
  hello.session_id = id;
  const std::string body = protocol::encode(hello);
  std::string bytes(protocol::kFrameHeader, '\0');
  protocol::FrameHeader header;
  header.type = protocol::FrameType::hello;
  header.length = static_cast<std::uint32_t>(body.size());
  protocol::encode(header, reinterpret_cast<std::byte*>(bytes.data()));
  bytes += body;

  std::optional<crypto::SecureChannel> channel;
  if (sealed) channel.emplace(crypto::SecureChannel::client({}).value());
  struct Stream : Call {
    void on_data(Channel side, ByteView data, bool) override {
      session->consumed(id, side, data.size());
      if (*secure) (*secure)->receive(data, [this](ByteView plain) { return probe->receive(plain); }).ignore("a probe");
      else probe->receive(data).ignore("a probe");
    }
    void on_writable(Channel) override {}
    session::Session* probe = nullptr;
    std::optional<crypto::SecureChannel>* secure = nullptr;
  } stream;
  stream.probe = &probe;
  stream.secure = &channel;
  protocol::SessionRequest request;
  request.dialect = "v2";
  request.keep_ms = 2000;
  session::Session& outer = harness.client->session;
  stream.session = &outer;
  stream.id = outer.open(Method::session, protocol::encode(request), &stream);
  bool said = false;
  harness.run_until([&] {
    if (channel) {
      for (ByteView wire = channel->output(); !wire.empty(); wire = channel->output()) channel->sent(outer.send(stream.id, Channel::in, wire));
      if (channel->established() && !said) said = channel->seal(as_bytes(bytes)).has_value();
    } else if (!said) {
      said = true;
      outer.send(stream.id, Channel::in, as_bytes(bytes));
    }
    return !peer.answered.empty();
  }, 5s);
  outer.cancel(stream.id);
  harness.run_until([&] { return stream.end.has_value(); }, 5s);
  outer.detach(stream.id);
  return peer.answered;
}

TEST_F(AgentResume, ASessionIsFoundOnlyByItsIdAndInItsKindOfTransport) {
  for (const bool sealed : {false, true}) {
    Traveller traveller(harness, sealed);
    traveller.connect();
    const auto call = traveller.exec(shell_request("exec sleep 60"));
    ASSERT_TRUE(harness.run_until([&] { return call->started(); }));
    const std::string id = traveller.session.peer().session_id;
    EXPECT_EQ(id.size(), 16u);
    traveller.drop(Traveller::End::cancel);
    ASSERT_TRUE(harness.run_until([&] { return kept().waiting() == 1; }, 5s));
    EXPECT_NE(answered_by(harness, id, !sealed), id);
    EXPECT_NE(answered_by(harness, std::string(16, 'x'), sealed), id);
    EXPECT_NE(answered_by(harness, "", sealed), "");
    EXPECT_EQ(answered_by(harness, id, sealed), id);
    traveller.connect();
    EXPECT_TRUE(harness.run_until([&] { return traveller.session.ready(); }));
    call->control(SIGKILL);
    ASSERT_TRUE(harness.run_until([&] { return call->end.has_value() || call->lost.has_value(); }));
    EXPECT_TRUE(call->end.has_value());
    traveller.session.fail(Error(ErrorCode::cancelled, "enough"));
    ASSERT_TRUE(harness.run_until([&] { return kept().size() == 0; }, 10s));
  }
}

TEST_F(AgentResume, OnlySoManyAreKept) {
  std::vector<std::unique_ptr<Traveller>> travellers;
  for (std::size_t i = 0; i < ResumableSessions::kMaxWaiting + 10; ++i) {
    auto& traveller = travellers.emplace_back(std::make_unique<Traveller>(harness));
    traveller->connect();
    ASSERT_TRUE(harness.run_until([&] { return traveller->session.ready(); }));
    traveller->drop(Traveller::End::cancel);
  }
  ASSERT_TRUE(harness.run_until([&] { return kept().waiting() == ResumableSessions::kMaxWaiting && kept().size() == kept().waiting(); }, 5s));
  travellers.front()->connect();
  EXPECT_TRUE(harness.run_until([&] { return travellers.front()->session.failed() || !travellers.front()->received; }, 5s));
  travellers.back()->connect();
  const auto call = travellers.back()->exec(shell_request("echo back"));
  EXPECT_TRUE(harness.run_until([&] { return call->end.has_value(); }, 5s));
}

/// Counts what it is given; a carrier that was told goodbye may be gone.
struct CountingCarrier : ResumableSessions::Carrier {
  std::size_t write(ByteView bytes) override {
    ++writes;
    return bytes.size();
  }
  void replaced() override {}
  int writes = 0;
};

TEST_F(AgentResume, ACarrierIsNotUsedAfterItLeft) {
  // Whatever the session would still say: the stream that carried it is being destroyed.
  for (const bool resumable : {false, true}) {
    session::Options options;
    options.resumable = resumable;
    struct Nobody : session::SessionHandler {
    } nobody;
    session::Session client(session::Role::client, options, nobody);
    Greeter greeter(harness.agent);
    ASSERT_TRUE(greeter.feed(client.output()).value());
    CountingCarrier carrier;
    Server* server = kept().attach(greeter, carrier, 0ms, 1).value();
    server->session().ping(7);   // something is left to say
    kept().detach(carrier);
    const int before = carrier.writes;
    harness.loop.turn(0ms);
    harness.loop.turn(0ms);
    EXPECT_EQ(carrier.writes, before);
  }
}

TEST_F(AgentResume, SessionsOutliveTheTransportOfTheirStream) {
  Traveller traveller(harness);
  traveller.connect();
  const auto call = traveller.exec(shell_request("sleep 0.2; echo still"));
  ASSERT_TRUE(harness.run_until([&] { return call->started(); }));
  traveller.drop(Traveller::End::forget);
  harness.server.reset();   // as when the daemon dies
  wait(50ms);
  EXPECT_EQ(kept().waiting(), 1u);
}

}  // namespace
}  // namespace sandbox::agent::testing
