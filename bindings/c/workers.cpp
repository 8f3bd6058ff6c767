#include "workers.hpp"

#include <chrono>
#include <cstdlib>

#include "aio/worker_threads.hpp"
#include "core/clock.hpp"

namespace sandbox::c {
namespace {

struct Workers {
  aio::WorkerThreads quick{"sbx-quick", 3};
  aio::WorkerThreads slow{"sbx-slow", 5};
};

/// How long the end of the process waits for work that was cancelled, or whose sandboxes were just closed.
constexpr std::chrono::seconds kLeave{1};

Workers& workers();

/// Behind this, static objects go that such work may still use: ours and other libraries'.
void finish() {
  if (stranded()) return;
  const core::TimePoint until = core::SteadyClock::now() + kLeave;
  workers().slow.wait_idle(until);
  workers().quick.wait_idle(until);
}

/// Never destroyed: at the end of the process some of them may still wait for something, and nobody can hurry it.
Workers& workers() {
  static Workers* const all = [] {
    std::atexit(finish);
    return new Workers();
  }();
  return *all;
}

}  // namespace

void run_later(Lane lane, std::function<void()> task) {
  auto& chosen = lane == Lane::quick ? workers().quick : workers().slow;
  chosen.post(std::move(task));
}

}  // namespace sandbox::c
