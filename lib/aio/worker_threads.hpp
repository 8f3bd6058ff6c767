#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core/clock.hpp"

namespace sandbox::aio {

/// Up to `most` threads, started when first needed, that run tasks in the order they were posted. Thread-safe.
class WorkerThreads {
 public:
  WorkerThreads(std::string name, unsigned most) : name_(std::move(name)), most_(most) {}
  ~WorkerThreads() { stop(); }
  WorkerThreads(const WorkerThreads&) = delete;

  /// Tasks must not throw. After stop() the task is dropped and false returned.
  bool post(std::function<void()> task);
  /// Whether by `deadline` there was a moment without a task, running or waiting.
  bool wait_idle(core::TimePoint deadline);
  /// Runs what was posted, then ends the threads. Called on one of them, and so is the destructor, it waits for the others;
  /// the caller's own ends by itself, after what is still queued.
  void stop();

 private:
  /// What the threads need; the last of them may outlive this object.
  struct Shared {
    std::mutex mutex;
    std::condition_variable changed, settled;
    std::deque<std::function<void()>> tasks;
    unsigned idle = 0;
    unsigned busy = 0;
    bool stopping = false;
  };
  static void run(Shared& shared);

  const std::string name_;
  const unsigned most_;
  const std::shared_ptr<Shared> shared_ = std::make_shared<Shared>();
  std::vector<std::thread> threads_;  ///< under the mutex
};

/// A thread of ours: named, with every signal blocked, since signals are the embedder's business.
std::thread start_thread(const std::string& name, std::function<void()> body);

}  // namespace sandbox::aio
