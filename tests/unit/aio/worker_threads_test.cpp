#include "aio/worker_threads.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <future>

namespace sandbox::aio {
namespace {

using namespace std::chrono_literals;

TEST(WorkerThreads, AreIdleWhenNothingRunsAndNothingWaits) {
  std::promise<void> go;
  std::shared_future<void> gate = go.get_future().share();
  std::atomic<int> done{0};
  WorkerThreads workers("test", 2);
  EXPECT_TRUE(workers.wait_idle(core::SteadyClock::now()));
  for (int i = 0; i < 5; ++i) {
    workers.post([&, gate] {
      gate.wait();
      ++done;
    });
  }
  EXPECT_FALSE(workers.wait_idle(core::SteadyClock::now() + 20ms));
  go.set_value();
  EXPECT_TRUE(workers.wait_idle(core::SteadyClock::now() + 20s));
  EXPECT_EQ(done, 5);
}

}  // namespace
}  // namespace sandbox::aio
