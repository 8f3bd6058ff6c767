#include "link/link.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <atomic>
#include <future>
#include <latch>
#include <thread>

#include <boost/asio/post.hpp>

#include "peer.hpp"
#include "support/eventually.hpp"

namespace sandbox::link::test {
namespace {

using namespace std::chrono_literals;

core::TimePoint in(core::Duration time) { return core::SteadyClock::now() + time; }

class Links : public ::testing::Test {
 protected:
  std::string echo(Link& on, std::string text) {
    Collector call;
    on.with([&](session::Session& session) { call.open(session, Method::env_get, text); });
    auto done = on.wait_until([&] { return call.finished; }, in(20s));
    if (!done || !*done) {
      on.with([&](session::Session& session) { session.detach(call.id); });
      return done ? "timeout" : "error: " + done.error().to_string();
    }
    if (call.lost) return "lost: " + call.lost->to_string();
    return call.end->result;
  }

  aio::Reactor reactor;
  Pair pair{reactor};
  std::shared_ptr<Link> link = pair.link;
};

TEST_F(Links, HandshakeYieldsThePeersHello) {
  auto hello = link->handshake(in(5s));
  ASSERT_TRUE(hello) << hello.error().to_string();
  EXPECT_EQ(hello->version, 2u);
}

TEST_F(Links, ACallGetsItsAnswer) { EXPECT_EQ(echo(*link, "hello"), "hello"); }

TEST_F(Links, PingMeasuresARoundTrip) {
  auto time = link->ping(in(5s));
  ASSERT_TRUE(time) << time.error().to_string();
  EXPECT_GT(*time, 0ns);
}

TEST_F(Links, TheReaderDispatchesWhatBelongsToOthers) {
  // A slow waiter takes the reading role; quick calls of other threads must be answered through it.
  Collector slow;
  link->with([&](session::Session& session) { slow.open(session, Method::exec, {}); });
  std::atomic<bool> left = false;
  std::jthread reader([&] {
    auto done = link->wait_until([&] { return slow.finished; }, in(20s));
    EXPECT_TRUE(done && *done);
    left = true;
  });
  for (int i = 0; i < 100; ++i) ASSERT_EQ(echo(*link, std::to_string(i)), std::to_string(i));
  EXPECT_FALSE(left);
  link->with([&](session::Session& session) { session.cancel(slow.id); });
}

TEST_F(Links, WhenTheReaderLeavesAnotherWaiterReads) {
  // The first waiter reads and leaves by its deadline; the second must then be answered although nobody wakes it.
  Collector first, second;
  link->with([&](session::Session& session) { first.open(session, Method::exec, {}), second.open(session, Method::exec, {}); });
  std::jthread a([&] {
    auto done = link->wait_until([&] { return first.finished; }, in(30ms));
    EXPECT_TRUE(done && !*done);
    link->with([&](session::Session& session) { session.cancel(second.id); });
  });
  auto done = link->wait_until([&] { return second.finished; }, in(20s));
  EXPECT_TRUE(done && *done);
  a.join();
  link->with([&](session::Session& session) { session.detach(first.id); });
}

TEST_F(Links, AWaitEndsAtItsDeadline) {
  const auto start = core::SteadyClock::now();
  auto done = link->wait_until([] { return false; }, in(20ms));
  ASSERT_TRUE(done);
  EXPECT_FALSE(*done);
  EXPECT_GE(core::SteadyClock::now() - start, 20ms);
}

TEST_F(Links, AChangeMadeByAnotherThreadEndsAWait) {
  bool flag = false;  // under the link's lock
  std::jthread setter([&] { link->with([&](session::Session&) { flag = true; }); });
  auto done = link->wait_until([&] { return flag; }, in(20s));
  EXPECT_TRUE(done && *done);
}

TEST_F(Links, DeathOfThePeerEndsEveryWait) {
  Collector calls[3];
  link->with([&](session::Session& session) {
    for (auto& call : calls) call.open(session, Method::exec, {});
  });
  std::vector<std::jthread> threads;
  for (auto& call : calls) {
    threads.emplace_back([&] {
      auto done = link->wait_until([&] { return call.finished; }, in(20s));
      EXPECT_TRUE(done && *done);
      ASSERT_TRUE(call.lost);
      EXPECT_EQ(call.lost->code(), ErrorCode::unavailable);
    });
  }
  pair.peer->die();
  threads.clear();
  EXPECT_TRUE(link->failed());
  auto later = link->wait_until([] { return false; }, in(1s));
  ASSERT_FALSE(later);
  EXPECT_EQ(later.error().code(), ErrorCode::unavailable);
}

TEST_F(Links, ClosingFromAnotherThreadEndsEveryWait) {
  Collector call;
  link->with([&](session::Session& session) { call.open(session, Method::exec, {}); });
  std::jthread waiter([&] {
    auto done = link->wait_until([&] { return call.finished; }, in(20s));
    EXPECT_TRUE(done && *done);
  });
  link->close(Error(ErrorCode::cancelled, "closed by the test"));
  waiter.join();
  ASSERT_TRUE(call.lost);
  EXPECT_EQ(call.lost->code(), ErrorCode::cancelled);
  link->close(Error(ErrorCode::internal, "again"));  // idempotent
}

TEST_F(Links, GarbageFromThePeerEndsTheSession) {
  Collector call;
  ASSERT_EQ(echo(*link, "x"), "x");
  link->with([&](session::Session& session) { call.open(session, Method::exec, {}); });
  pair.peer->inject(std::string(64, '\xff'));
  auto done = link->wait_until([&] { return call.finished; }, in(20s));
  EXPECT_TRUE(done && *done);
  ASSERT_TRUE(call.lost);
  EXPECT_EQ(call.lost->code(), ErrorCode::protocol);
}

TEST_F(Links, TenThousandPingsFromEightThreads) {
  std::vector<std::jthread> threads;
  std::atomic<int> good = 0;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 1250; ++i) good += link->ping(in(30s)).has_value();
    });
  }
  threads.clear();
  EXPECT_EQ(good, 10000);
}

TEST_F(Links, BulkBothWaysIsCompleteAndInOrderWhilePingsPass) {
  constexpr std::uint64_t kBytes = 24 << 20;
  std::atomic<bool> busy = true;
  std::jthread pinger([&] {
    while (busy) EXPECT_TRUE(link->ping(in(100s)).has_value());
  });
  std::jthread writer([&] {
    Collector call;
    const Bytes piece(256 << 10);
    link->with([&](session::Session& session) { call.open(session, Method::fs_write, {}); });
    for (std::uint64_t sent = 0; sent < kBytes; sent += piece.size()) {
      ByteView rest = piece;
      auto done = link->wait_until(
          [&] {
            if (!rest.empty()) rest = rest.subspan(call.session->send(call.id, Channel::in, rest));
            return rest.empty();
          },
          in(100s));
      ASSERT_TRUE(done && *done);
    }
    link->with([&](session::Session& session) { session.send(call.id, Channel::in, {}, true); });
    auto done = link->wait_until([&] { return call.finished; }, in(100s));
    ASSERT_TRUE(done && *done);
    EXPECT_EQ(call.end->result, std::to_string(kBytes));
  });
  Collector call;
  link->with([&](session::Session& session) { call.open(session, Method::fs_read, std::to_string(kBytes)); });
  auto done = link->wait_until([&] { return call.finished; }, in(100s));
  ASSERT_TRUE(done && *done);
  EXPECT_EQ(call.bytes, kBytes);
  EXPECT_TRUE(call.in_order);
  writer.join();
  busy = false;
}

TEST_F(Links, AFullSocketIsDrainedByTheReactorWhenNobodyWaits) {
  // Freeze the peer, queue more than the socket takes without waiting, let it go: everything must arrive.
  ASSERT_EQ(echo(*link, "x"), "x");
  pair.peer->freeze();
  Collector call;
  std::uint64_t queued = 0;
  link->with([&](session::Session& session) {
    call.open(session, Method::fs_write, {});
    const Bytes piece(64 << 10);
    for (int i = 0; i < 16; ++i) queued += session.send(call.id, Channel::in, piece);
  });
  link->with([&](session::Session& session) { session.send(call.id, Channel::in, {}, true); });
  ASSERT_GT(queued, 0u);
  pair.peer->thaw();
  auto done = link->wait_until([&] { return call.finished; }, in(20s));
  ASSERT_TRUE(done && *done);
  EXPECT_EQ(call.end->result, std::to_string(queued));
}

TEST_F(Links, ALookReadsAnAnswerThatIsNear) {
  // Near is a matter of luck on a busy machine, so it may take some tries; what a look misses is there for the next who waits.
  EXPECT_TRUE(testing::eventually([&] {
    Collector call;
    link->with([&](session::Session& session) { call.open(session, Method::env_get, "x"); });
    const bool seen = link->look([&] { return call.finished; });
    EXPECT_EQ(seen, call.finished);
    auto done = link->wait_until([&] { return call.finished; }, in(20s));
    EXPECT_TRUE(done && *done);
    return seen;
  }));
}

TEST_F(Links, ALookEndsWithoutAnAnswer) {
  Collector call;
  link->with([&](session::Session& session) { call.open(session, Method::exec, {}); });
  for (int i = 0; i < 100; ++i) EXPECT_FALSE(link->look([&] { return call.finished; }));
  link->with([&](session::Session& session) { session.cancel(call.id); });
  auto done = link->wait_until([&] { return call.finished; }, in(20s));
  EXPECT_TRUE(done && *done);
}

TEST_F(Links, ALookLeavesReadingToWhoDoesItAlready) {
  Link::Attention attention(link);
  int on_reactor = 0;
  for (int i = 0; i < 50; ++i) {
    struct Where final : Collector {
      void on_end(const protocol::End& record) override {
        thread = std::this_thread::get_id();
        Collector::on_end(record);
      }
      std::thread::id thread;
    } call;
    link->with([&](session::Session& session) { call.open(session, Method::env_get, "x"); });
    link->look([&] { return call.finished; });
    EXPECT_TRUE(testing::eventually([&] { return link->with([&](session::Session&) { return call.finished; }); }));
    on_reactor += call.thread != std::this_thread::get_id();
  }
  EXPECT_EQ(on_reactor, 50);
}

TEST_F(Links, TheReactorReadsWhileAttentionIsHeld) {
  struct Promise : Collector {
    std::promise<std::string> answer;
    void on_end(const protocol::End& record) override { answer.set_value(record.result); }
    void on_lost(const Error& error) override { answer.set_value(error.to_string()); }
  };
  for (int i = 0; i < 50; ++i) {
    Promise call;
    auto answer = call.answer.get_future();
    Link::Attention attention(link);
    link->with([&](session::Session& session) { call.open(session, Method::env_get, "async"); });
    ASSERT_EQ(answer.wait_for(20s), std::future_status::ready);
    EXPECT_EQ(answer.get(), "async");
  }
}

TEST_F(Links, AsynchronousAnswersArriveWhileThreadsBlock) {
  struct Counting : Collector {
    std::latch* latch = nullptr;
    void on_end(const protocol::End&) override { latch->count_down(); }
  };
  constexpr int kCalls = 500;
  std::latch latch(kCalls);
  std::vector<Counting> calls(kCalls);
  std::vector<std::jthread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) EXPECT_EQ(echo(*link, "b"), "b");
    });
  }
  {
    Link::Attention attention(link);
    for (auto& call : calls) {
      call.latch = &latch;
      link->with([&](session::Session& session) { call.open(session, Method::env_get, "a"); });
    }
    latch.wait();
  }
  threads.clear();
  // Handlers live in `calls`: nothing may come for them any more.
  EXPECT_EQ(echo(*link, "last"), "last");
}

TEST_F(Links, BlockingOnTheReactorThreadIsRefused) {
  std::promise<ErrorCode> code;
  boost::asio::post(reactor.context(), [&] {
    auto done = link->wait_until([] { return false; }, in(1s));
    code.set_value(done ? ErrorCode::internal : done.error().code());
  });
  EXPECT_EQ(code.get_future().get(), ErrorCode::failed_precondition);
}

class SealedLinks : public Links {
 protected:
  struct Ends {
    std::unique_ptr<AgentThread> peer;
    std::shared_ptr<Link> link;
  };
  Ends sealed(std::optional<Fingerprint> pin, Identity identity) {
    crypto::AgentTrust agent{std::move(identity), std::nullopt, "test"};
    crypto::ClientTrust client;
    client.pin = pin;
    client.context = "test";
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) std::abort();
    Ends both;
    both.peer = std::make_unique<AgentThread>(core::UniqueFd(ends[1]), session::Options(), &serve,
                                              crypto::SecureChannel::agent(std::move(agent)).value());
    both.link = Link::make(socket_stream(core::UniqueFd(ends[0])), session::Options(), reactor,
                           crypto::SecureChannel::client(std::move(client)).value());
    return both;
  }
};

TEST_F(SealedLinks, CarryEverythingForThePinnedAgent) {
  auto identity = Identity::generate().value();
  const auto pin = identity.fingerprint();
  auto both = sealed(pin, std::move(identity));
  auto hello = both.link->handshake(in(10s));
  ASSERT_TRUE(hello) << hello.error().to_string();
  EXPECT_EQ(echo(*both.link, "sealed"), "sealed");
  Collector call;
  both.link->with([&](session::Session& session) { call.open(session, Method::fs_read, std::to_string(3 << 20)); });
  auto done = both.link->wait_until([&] { return call.finished; }, in(20s));
  EXPECT_TRUE(done && *done);
  EXPECT_EQ(call.bytes, 3u << 20);
  EXPECT_TRUE(call.in_order);
  // An agent that dies did not say goodbye: the stream may have been cut off.
  Collector last;
  both.link->with([&](session::Session& session) { last.open(session, Method::exec, {}); });
  both.peer->die();
  done = both.link->wait_until([&] { return last.finished; }, in(20s));
  ASSERT_TRUE(last.lost);
  EXPECT_EQ(last.lost->code(), ErrorCode::unavailable);
}

TEST_F(SealedLinks, RefuseAnotherAgent) {
  const auto pin = Identity::generate().value().fingerprint();
  auto both = sealed(pin, Identity::generate().value());
  auto hello = both.link->handshake(in(10s));
  ASSERT_FALSE(hello);
  EXPECT_EQ(hello.error().code(), ErrorCode::unauthenticated);
}

TEST_F(Links, WaitersComeAndGoByDeadlineWithoutLosingAnswers) {
  // Short deadlines make waiters leave at the same moment as they are appointed to read.
  std::vector<std::jthread> threads;
  std::atomic<int> answered = 0;
  for (int t = 0; t < 6; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 150; ++i) {
        Collector call;
        link->with([&](session::Session& session) { call.open(session, t % 2 ? Method::exec : Method::env_get, "x"); });
        auto done = link->wait_until([&] { return call.finished; }, in(t % 2 ? 200us : 20s));
        if (done && *done) ++answered;
        else link->with([&](session::Session& session) { session.cancel(call.id), session.detach(call.id); });
      }
    });
  }
  threads.clear();
  EXPECT_EQ(answered, 450);
}

TEST(LinkClose, GivesTheDescriptorBack) {
  aio::Reactor reactor;
  for (const bool waited_on : {false, true}) {
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
    const core::UniqueFd peer(ends[1]);
    const auto link = Link::make(socket_stream(core::UniqueFd(ends[0])), session::Options(), reactor);
    std::jthread waiter;
    if (waited_on) {
      std::latch waits(1);
      waiter = std::jthread([&] {
        bool first = true;
        const auto done = link->wait_until([&] { return std::exchange(first, false) ? (waits.count_down(), false) : false; }, in(20s));
        EXPECT_FALSE(done);
      });
      waits.wait();
    }
    link->close(Error(ErrorCode::cancelled, "test"));
    if (waited_on) waiter.join();
    EXPECT_EQ(::fcntl(ends[0], F_GETFD), -1) << waited_on;
  }
}

}  // namespace
}  // namespace sandbox::link::test
