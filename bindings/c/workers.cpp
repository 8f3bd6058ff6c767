#include "workers.hpp"

#include "aio/worker_threads.hpp"

namespace sandbox::c {
namespace {

struct Workers {
  aio::WorkerThreads quick{"sbx-quick", 3};
  aio::WorkerThreads slow{"sbx-slow", 5};
};

/// Never destroyed: at the end of the process some of them may still wait for something, and nobody can hurry it.
Workers& workers() {
  static Workers* const all = new Workers();
  return *all;
}

}  // namespace

void run_later(Lane lane, std::function<void()> task) {
  auto& chosen = lane == Lane::quick ? workers().quick : workers().slow;
  chosen.post(std::move(task));
}

}  // namespace sandbox::c
