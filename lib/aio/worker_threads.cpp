#include "aio/worker_threads.hpp"

#include <pthread.h>
#include <signal.h>

namespace sandbox::aio {

std::thread start_thread(const std::string& name, std::function<void()> body) {
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread thread(std::move(body));
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ::pthread_setname_np(thread.native_handle(), name.substr(0, 15).c_str());
  return thread;
}

bool WorkerThreads::post(std::function<void()> task) {
  {
    std::lock_guard lock(shared_->mutex);
    if (shared_->stopping) return false;
    shared_->tasks.push_back(std::move(task));
    if (shared_->tasks.size() > shared_->idle && threads_.size() < most_)
      threads_.push_back(start_thread(name_, [shared = shared_] { run(*shared); }));
  }
  shared_->changed.notify_one();
  return true;
}

void WorkerThreads::run(Shared& shared) {
  std::unique_lock lock(shared.mutex);
  for (;;) {
    ++shared.idle;
    shared.changed.wait(lock, [&] { return shared.stopping || !shared.tasks.empty(); });
    --shared.idle;
    if (shared.tasks.empty()) return;
    std::function<void()> task = std::move(shared.tasks.front());
    shared.tasks.pop_front();
    ++shared.busy;
    lock.unlock();
    task();
    task = nullptr;  // what it captured may be released last here, without the lock
    lock.lock();
    if (--shared.busy == 0 && shared.tasks.empty()) shared.settled.notify_all();
  }
}

bool WorkerThreads::wait_idle(core::TimePoint deadline) {
  std::unique_lock lock(shared_->mutex);
  return shared_->settled.wait_until(lock, deadline, [&] { return shared_->busy == 0 && shared_->tasks.empty(); });
}

void WorkerThreads::stop() {
  std::vector<std::thread> threads;
  {
    std::lock_guard lock(shared_->mutex);
    shared_->stopping = true;
    threads.swap(threads_);
  }
  shared_->changed.notify_all();
  for (std::thread& thread : threads) {
    if (thread.get_id() == std::this_thread::get_id()) thread.detach();
    else thread.join();
  }
}

}  // namespace sandbox::aio
