#include <atomic>
#include <future>
#include <random>

#include "live_client.hpp"

namespace sandbox::testing {
namespace {

class Resume : public LiveClient {};

Bytes pattern(std::size_t size) {
  Bytes bytes(size);
  std::uint64_t state = 88172645463325252u;
  for (std::byte& byte : bytes) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    byte = static_cast<std::byte>(state >> 32);
  }
  return bytes;
}

/// Cuts every connection whenever so many more bytes went through, `times` times.
class Cutter {
 public:
  Cutter(CutProxy& proxy, int times, std::uint64_t every)
      : thread_([this, &proxy, times, every] {
          std::mt19937_64 random(7);
          for (std::uint64_t next = proxy.bytes(); cuts_ < times && !stop_;) {
            next += every / 2 + random() % every;
            while (proxy.bytes() < next && !stop_) std::this_thread::sleep_for(200us);
            if (!stop_ && proxy.cut() > 0) ++cuts_;
          }
        }) {}
  ~Cutter() {
    stop_ = true;
    thread_.join();
  }
  int cuts() const { return cuts_; }

 private:
  std::atomic<bool> stop_{false};
  std::atomic<int> cuts_{0};
  std::thread thread_;
};

class ResumeBothWays : public Resume, public ::testing::WithParamInterface<bool> {};

TEST_P(ResumeBothWays, SixtyFourMegabytesSurviveTwentyCuts) {
  Client far = through_proxy();
  Sandbox b = far.create(SandboxSpec().limits(Limits().memory(512_MiB).disk(256_MiB)).sealed(GetParam())).value();
  const Bytes content = pattern(64 << 20);
  {
    Cutter cutter(proxy(), 20, 3 << 20);
    const auto written = b.fs().write("/root/big", content);
    ASSERT_TRUE(written) << written.error().to_string();
    EXPECT_EQ(cutter.cuts(), 20);
  }
  {
    Cutter cutter(proxy(), 20, 3 << 20);
    const auto back = b.fs().read("/root/big");
    ASSERT_TRUE(back) << back.error().to_string();
    EXPECT_TRUE(*back == content) << "a byte was lost, doubled or moved";
    EXPECT_EQ(cutter.cuts(), 20);
  }
  EXPECT_OK(b.close());
}

INSTANTIATE_TEST_SUITE_P(Client, ResumeBothWays, ::testing::Bool(), [](const auto& sealed) { return sealed.param ? "sealed" : "plain"; });

TEST_F(Resume, ACommandRunsOnceHoweverOftenItsConnectionBreaks) {
  Client far = through_proxy();
  Sandbox b = far.create().value();
  ASSERT_TRUE(b.process().exec("true").value().ok());
  {
    // A few hundred bytes are enough for a call to be under way, too few for the next one to be. Each is cut several times, and pauses
    // between the tries grow: more calls take long and show no more.
    Cutter cutter(proxy(), 1000, 700);
    for (int i = 0; i < 15; ++i) {
      const auto r = b.process().exec("echo x >> /root/log; echo " + std::to_string(i));
      ASSERT_TRUE(r) << r.error().to_string();
      EXPECT_EQ(r->stdout_text(), std::to_string(i) + "\n");
    }
    EXPECT_GE(cutter.cuts(), 5);
  }
  EXPECT_EQ(b.process().exec("wc -l < /root/log").value().stdout_text(), "15\n");
}

TEST_F(Resume, OperationsWaitWhileTheDaemonCannotBeReached) {
  Client far = through_proxy();
  Sandbox b = far.create().value();
  ASSERT_TRUE(b.process().exec("true").value().ok());
  proxy().refuse(true);
  proxy().cut();
  auto waiting = std::async(std::launch::async, [&] { return b.process().exec("echo back"); });
  EXPECT_EQ(waiting.wait_for(300ms), std::future_status::timeout);
  proxy().refuse(false);
  const auto r = waiting.get();
  ASSERT_TRUE(r) << r.error().to_string();
  EXPECT_EQ(r->stdout_text(), "back\n");
}

TEST_F(Resume, WhatCannotBeReachedForTooLongIsUnavailable) {
  Client far = through_proxy(ClientOptions().reconnect(400ms));
  Sandbox b = far.create().value();
  ASSERT_TRUE(b.process().exec("true").value().ok());
  proxy().refuse(true);
  proxy().cut();
  const auto before = std::chrono::steady_clock::now();
  EXPECT_CODE(ErrorCode::unavailable, b.process().exec("true"));
  EXPECT_LT(std::chrono::steady_clock::now() - before, 10s);
  EXPECT_CODE(ErrorCode::unavailable, b.fs().read("/etc/hostname"));
  proxy().refuse(false);
}

TEST_F(Resume, APingMeasuresTheConnectionThatCameBack) {
  Client far = through_proxy();
  Sandbox b = far.create().value();
  ASSERT_TRUE(b.ping());
  proxy().cut();
  EXPECT_OK(b.ping());
}

TEST_F(Resume, ASpawnedProcessKeepsItsOutputAcrossACut) {
  Client far = through_proxy();
  Sandbox b = far.create().value();
  RunningProcess p = b.process().spawn(Command("for i in 1 2 3 4 5 6 7 8 9 10; do echo line $i; sleep 0.05; done")).value();
  std::string text;
  for (int cuts = 0;;) {
    const auto chunk = p.read_for(20s);
    ASSERT_TRUE(chunk) << chunk.error().to_string();
    if (!*chunk) break;
    text += as_text((*chunk)->bytes);
    if (cuts++ < 3) proxy().cut();
  }
  std::string expected;
  for (int i = 1; i <= 10; ++i) expected += "line " + std::to_string(i) + "\n";
  EXPECT_EQ(text, expected);
}

}  // namespace
}  // namespace sandbox::testing
