#include <filesystem>
#include <future>
#include <thread>

#include <boost/asio/use_future.hpp>

#include <sandbox/asio/client.hpp>

#include "live_client.hpp"
#include "support/eventually.hpp"

namespace sandbox::testing {
namespace {

class Clients : public LiveClient {};

TEST_F(Clients, NoDaemonSaysUnavailable) {
  EXPECT_CODE(ErrorCode::unavailable, Client::connect("unix://" + daemon().directory() + "/nobody.sock"));
  EXPECT_CODE(ErrorCode::invalid_argument, Client::connect("ftp://example"));
}

TEST_F(Clients, HealthNamesTheProtocols) {
  const Health health = client().health().value();
  EXPECT_EQ(health.status, "ok");
  EXPECT_FALSE(health.version.empty());
}

TEST_F(Clients, AHandleIsASandbox) {
  Sandbox b = client().create(CreateRequest().label("a", "1").label("b", "2").ttl(30s)).value();
  const SandboxInfo info = client().find(b.id()).value();
  EXPECT_EQ(info.state, SandboxState::running);
  EXPECT_EQ(info.labels, (Labels{{"a", "1"}, {"b", "2"}}));
  EXPECT_EQ(info.ttl, 30s);
  EXPECT_EQ(client().list({{"a", "1"}}).value().size(), 1u);
  EXPECT_TRUE(client().list({{"a", "2"}}).value().empty());
  EXPECT_OK(b.close());
  EXPECT_CODE(ErrorCode::not_found, client().find(b.id()));
  EXPECT_CODE(ErrorCode::not_found, client().open(b.id()));
  EXPECT_CODE(ErrorCode::not_found, client().remove(b.id()));
}

TEST_F(Clients, TheSandboxEndsWithItsHandle) {
  std::string id;
  {
    Sandbox b = client().create(CreateRequest().ttl(60s)).value();
    id = b.id();
  }
  EXPECT_CODE(ErrorCode::not_found, client().find(id));
}

TEST_F(Clients, ADetachedSandboxIsFoundAgain) {
  std::string id;
  {
    Sandbox b = client().create(CreateRequest().ttl(60s)).value();
    id = b.id();
    EXPECT_OK(b.fs().write("/root/f", "kept"));
    EXPECT_OK(b.detach());
    EXPECT_CODE(ErrorCode::failed_precondition, b.process().exec("true"));
  }
  {
    Sandbox again = client().open(id).value();
    EXPECT_EQ(again.fs().read_text("/root/f").value(), "kept");
  }
  EXPECT_OK(client().find(id));
  EXPECT_OK(client().remove(id));
}

TEST_F(Clients, SomebodyElsesRemovalShowsAsUnavailable) {
  Sandbox b = client().create().value();
  EXPECT_OK(b.process().exec("true"));
  EXPECT_OK(client().remove(b.id()));
  EXPECT_CODE(ErrorCode::unavailable, b.process().exec("true"));
  EXPECT_CODE(ErrorCode::unavailable, b.stats());
  EXPECT_OK(b.close());
}

TEST_F(Clients, APauseBehindTheCreationIsSurvived) {
  // The session may not have begun when the sandbox stands still already.
  for (int i = 0; i < 20; ++i) {
    Sandbox b = client().create().value();
    EXPECT_OK(b.pause());
    EXPECT_CODE(ErrorCode::failed_precondition, b.process().exec("true"));
    EXPECT_OK(b.resume());
    const auto r = b.process().exec("echo on");
    ASSERT_TRUE(r) << r.error().to_string();
    EXPECT_EQ(r->stdout_text(), "on\n");
  }
}

TEST_F(Clients, APauseLongerThanTheHeartbeatIsSurvived) {
  Client impatient = Client::connect(daemon().url(), ClientOptions().heartbeat(20ms).reconnect(100ms)).value();
  Sandbox b = impatient.create().value();
  EXPECT_OK(b.fs().write("/root/f", "kept"));
  EXPECT_OK(b.pause());
  Client other = Client::connect(daemon().url()).value();
  Sandbox again = other.open(b.id()).value();
  EXPECT_CODE(ErrorCode::failed_precondition, again.process().exec("true"));
  std::this_thread::sleep_for(500ms);  // many heartbeats, and more than the time for reconnecting
  EXPECT_OK(again.resume());
  EXPECT_EQ(again.fs().read_text("/root/f").value(), "kept");
  EXPECT_CODE(ErrorCode::failed_precondition, b.process().exec("true"));  // this handle paused it
  EXPECT_OK(b.resume());
  const auto r = b.process().exec("echo on");
  ASSERT_TRUE(r) << r.error().to_string();
  EXPECT_EQ(r->stdout_text(), "on\n");
}

TEST_F(Clients, UnknownNamesAreNotFound) {
  EXPECT_CODE(ErrorCode::not_found, client().create(CreateRequest().profile("no-such-profile")));
  EXPECT_CODE(ErrorCode::not_found, client().create(CreateRequest().from_template("tpl-00000000")));
  EXPECT_CODE(ErrorCode::invalid_argument, client().find("../health"));
  EXPECT_CODE(ErrorCode::invalid_argument, client().create(SandboxSpec().env("A", "\xff\xfe")));
}

TEST_F(Clients, EventsTellOfCreationAndDestruction) {
  EventStream events = client().events().value();
  std::string id;
  {
    Sandbox b = client().create().value();
    id = b.id();
  }
  std::vector<std::string> types;
  while (types.empty() || types.back() != "sandbox.destroyed") {
    const auto event = events.next(20s);
    ASSERT_TRUE(event) << event.error().to_string();
    ASSERT_TRUE(*event) << "nothing for 20 s";
    if ((*event)->sandbox_id == id) types.push_back((*event)->type);
  }
  EXPECT_EQ(types.front(), "sandbox.created");
  EXPECT_GE(client().history().value().events.size(), 2u);

  auto waiting = std::async(std::launch::async, [&] { return events.next(); });
  EXPECT_EQ(waiting.wait_for(50ms), std::future_status::timeout);
  events.cancel();
  EXPECT_CODE(ErrorCode::cancelled, waiting.get());
}

TEST_F(Clients, EventsAfter0BeginWithTheFirst) {
  std::string id;
  {
    Sandbox b = client().create().value();
    id = b.id();
  }
  EventStream events = client().events(0).value();
  for (;;) {
    const auto event = events.next(20s);
    ASSERT_TRUE(event) << event.error().to_string();
    ASSERT_TRUE(*event) << "nothing for 20 s";
    if ((*event)->sandbox_id != id) continue;
    EXPECT_EQ((*event)->type, "sandbox.created");
    break;
  }
}

/// A program may return from main() right behind: a thread that still ran would do so while the libraries are taken down.
TEST_F(Clients, NoThreadIsLeftWhenTheLastHandleIsGone) {
  const auto threads = [] {
    std::size_t count = 0;
    for ([[maybe_unused]] const auto& each : std::filesystem::directory_iterator("/proc/self/task")) ++count;
    return count;
  };
  const auto before = steady(threads);
  for (int i = 0; i < 30; ++i) {
    std::string id;
    {
      Client other = Client::connect(daemon().url()).value();
      Sandbox b = other.create(CreateRequest().ttl(60s)).value();
      id = b.id();
      EXPECT_OK(b.detach());  // its session is still being connected
    }
    // A thread that was joined may still be on its way out of /proc.
    EXPECT_TRUE(eventually([&] { return threads() == before; })) << threads() << " instead of " << before;
    EXPECT_OK(client().remove(id));
  }
}

TEST_F(Clients, AsyncCreateCompletesWithAHandle) {
  auto future = client().async_create(CreateRequest(), boost::asio::use_future);
  ASSERT_EQ(future.wait_for(30s), std::future_status::ready);
  Result<Sandbox> made = future.get();
  ASSERT_TRUE(made) << made.error().to_string();
  EXPECT_TRUE(made->process().exec("true").value().ok());
}

TEST_F(Clients, AClosedClientMakesNothingMore) {
  Sandbox b = client().create().value();
  EXPECT_OK(client().close());
  EXPECT_CODE(ErrorCode::failed_precondition, client().create());
  EXPECT_CODE(ErrorCode::failed_precondition, client().health());
  EXPECT_TRUE(b.process().exec("true").value().ok()) << "sandboxes go on";
}

TEST_F(Clients, ManySandboxesAtOnce) {
  std::vector<std::future<std::string>> all;
  for (int i = 0; i < 24; ++i) {
    all.push_back(std::async(std::launch::async, [&, i]() -> std::string {
      auto b = client().create(SandboxSpec().limits(Limits().memory(64_MiB).disk(16_MiB)));
      if (!b) return b.error().to_string();
      auto r = b->process().exec("echo " + std::to_string(i));
      return r ? r->stdout_text() == std::to_string(i) + "\n" ? "" : "wrong answer" : r.error().to_string();
    }));
  }
  for (auto& one : all) EXPECT_EQ(one.get(), "");
}

}  // namespace
}  // namespace sandbox::testing
