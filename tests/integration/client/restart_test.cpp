#include <signal.h>

#include <future>

#include "live_client.hpp"
#include "support/eventually.hpp"

// A daemon that dies under the handles of a client, and the next one on its socket.
namespace sandbox::testing {
namespace {

class Restart : public LiveClient {
 protected:
  void kill_and_start() {
    daemon().stop(SIGKILL);
    daemon().start();
    daemon().wait_ready();
  }
};

/// The lines "1" to the last one, without a hole.
void expect_counted(const std::string& text, int last) {
  std::string wanted;
  for (int i = 1; i <= last; ++i) wanted += std::to_string(i) + "\n";
  EXPECT_EQ(text, wanted);
}

class RestartBothWays : public Restart, public ::testing::WithParamInterface<bool> {};

TEST_P(RestartBothWays, AHandleAndWhatItRunsGoOn) {
  Client near = Client::connect(daemon().url()).value();
  CreateRequest wanted;
  wanted.ttl(600s).sealed(GetParam());
  Sandbox b = near.create(wanted).value();
  ASSERT_TRUE(b.fs().write("/root/kept", "content"));
  ASSERT_TRUE(b.env().set("KEPT", "yes"));
  RunningProcess counter =
      b.process().spawn(Command("i=0; while [ $i -lt 200 ]; do i=$((i+1)); echo $i; sleep 0.01; done; exit 3")).value();
  std::string seen;
  while (seen.size() < 20) seen += counter.read().value().value().text();
  for (int round = 0; round < 2; ++round) {
    kill_and_start();
    const auto kept = b.fs().read_text("/root/kept");
    ASSERT_TRUE(kept) << kept.error().to_string();
    EXPECT_EQ(*kept, "content");
    EXPECT_EQ(b.env().get("KEPT").value().value_or(""), "yes");
  }
  for (;;) {
    const auto piece = counter.read();
    ASSERT_TRUE(piece) << piece.error().to_string();
    if (!*piece) break;
    seen += (*piece)->text();
  }
  expect_counted(seen, 200);
  const auto status = counter.wait();
  ASSERT_TRUE(status) << status.error().to_string();
  EXPECT_EQ(status->cause, ExitCause::exited);
  EXPECT_EQ(status->exit_code, 3);
  EXPECT_EQ(near.list().value().size(), 1u);
  EXPECT_OK(b.close());
  EXPECT_TRUE(near.list().value().empty());
}

INSTANTIATE_TEST_SUITE_P(Client, RestartBothWays, ::testing::Bool(), [](const auto& sealed) { return sealed.param ? "sealed" : "plain"; });

TEST_F(Restart, EveryCommandRunsOnce) {
  Client near = Client::connect(daemon().url()).value();
  CreateRequest wanted;
  wanted.ttl(600s);
  Sandbox b = near.create(wanted).value();
  for (int round = 0; round < 3; ++round) {
    // Killed while the command is under way: its result comes from the agent, which never noticed more than a cut.
    auto result = std::async(std::launch::async, [&] { return b.process().exec("echo x >> /root/log; sleep 0.3; wc -l < /root/log"); });
    ASSERT_TRUE(eventually([&] { return b.fs().read_text("/root/log").value_or("").size() == 2u * static_cast<unsigned>(round + 1); }));
    kill_and_start();
    const auto r = result.get();
    ASSERT_TRUE(r) << r.error().to_string();
    EXPECT_EQ(std::stoi(std::string(r->stdout_text())), round + 1);
  }
}

}  // namespace
}  // namespace sandbox::testing
