#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace sandbox::aio {

/// Up to `most` threads, started when first needed, that run tasks in the order they were posted. Thread-safe.
class WorkerThreads {
 public:
  WorkerThreads(std::string name, unsigned most) : name_(std::move(name)), most_(most) {}
  ~WorkerThreads() { stop(); }
  WorkerThreads(const WorkerThreads&) = delete;

  /// Tasks must not throw. After stop() the task is dropped and false returned.
  bool post(std::function<void()> task);
  /// Runs what was posted, then ends the threads. Called on one of them it only tells them to end.
  void stop();

 private:
  void run();

  const std::string name_;
  const unsigned most_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> tasks_;
  std::vector<std::thread> threads_;
  unsigned idle_ = 0;
  bool stopping_ = false;
};

/// A thread of ours: named, with every signal blocked, since signals are the embedder's business.
std::thread start_thread(const std::string& name, std::function<void()> body);

}  // namespace sandbox::aio
