#include "aio/reactor.hpp"

#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include <boost/asio/executor_work_guard.hpp>

#include "core/unique_fd.hpp"

namespace sandbox::aio {
namespace {
constexpr int kLastHandlers = 100'000;
}

struct Reactor::Wakeup::Pool {
  std::mutex mutex;
  std::vector<core::UniqueFd> idle;
};

struct Reactor::Impl {
  // A concurrency hint of 1: one thread runs handlers, others may still post.
  boost::asio::io_context context{1};
  std::optional<boost::asio::executor_work_guard<boost::asio::io_context::executor_type>> work{context.get_executor()};
  std::shared_ptr<Wakeup::Pool> wakeups = std::make_shared<Wakeup::Pool>();
  std::thread thread;
  std::atomic<std::thread::id> id{};
  std::atomic<bool> ended{false};  ///< the thread was joined
  std::mutex late_mutex;
  std::condition_variable late_changed;
  bool late = false;   ///< under late_mutex: somebody runs what came after the end
  bool later = false;  ///< and more came meanwhile

  /// Runs what is queued after the end, on the calling thread, which set `late`. The bound is for handlers that post
  /// themselves again.
  void run_late() {
    int left = kLastHandlers;
    for (;;) {
      context.restart();
      while (left > 0 && context.poll_one() > 0) --left;
      std::lock_guard lock(late_mutex);
      if (std::exchange(later, false) && left > 0) continue;
      late = false;
      id.store({}, std::memory_order_relaxed);
      late_changed.notify_all();
      return;
    }
  }
};

Reactor::Reactor() : impl_(std::make_shared<Impl>()) {
  // The embedder's signals are the embedder's business: this thread takes none.
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  impl_->thread = std::thread([impl = impl_] {
    impl->id.store(std::this_thread::get_id(), std::memory_order_relaxed);
    ::pthread_setname_np(::pthread_self(), "sandbox-reactor");
    impl->context.run();
  });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Reactor::~Reactor() {
  stop();
  if (impl_->thread.joinable()) impl_->thread.detach();  // we are in one of its handlers; it owns what it still needs
}

boost::asio::io_context& Reactor::context() noexcept { return impl_->context; }

bool Reactor::on_this_thread() const noexcept {
  return impl_->id.load(std::memory_order_relaxed) == std::this_thread::get_id();
}

void Reactor::stop() {
  Impl& impl = *impl_;
  if (impl.ended.load()) {
    if (on_this_thread()) return;
    std::unique_lock lock(impl.late_mutex);
    impl.late_changed.wait(lock, [&] { return !impl.late; });
    return;
  }
  impl.work.reset();
  impl.context.stop();
  if (!impl.thread.joinable() || on_this_thread()) return;
  impl.thread.join();
  // Completions that were already on their way still run, here, so that no caller waits for ever.
  {
    std::lock_guard lock(impl.late_mutex);
    impl.late = true;
  }
  impl.ended.store(true);  // before the queue is looked at: who posts and does not see this yet is seen there
  impl.run_late();
}

void Reactor::wake_late() {
  Impl& impl = *impl_;
  if (!impl.ended.load()) return;
  std::lock_guard lock(impl.late_mutex);
  if (std::exchange(impl.late, true)) {
    impl.later = true;
    return;
  }
  std::thread([kept = impl_] {
    ::pthread_setname_np(::pthread_self(), "sandbox-late");
    kept->id.store(std::this_thread::get_id(), std::memory_order_relaxed);
    kept->run_late();
  }).detach();
}

Result<Reactor::Wakeup> Reactor::wakeup() {
  auto& pool = *impl_->wakeups;
  {
    std::lock_guard lock(pool.mutex);
    if (!pool.idle.empty()) {
      Wakeup wakeup(impl_->wakeups, pool.idle.back().release());
      pool.idle.pop_back();
      return wakeup;
    }
  }
  const int fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd < 0) return Error::from_errno(errno, "aio.eventfd");
  return Wakeup(impl_->wakeups, fd);
}

Reactor::Wakeup::~Wakeup() {
  if (fd_ < 0) return;
  std::lock_guard lock(pool_->mutex);
  pool_->idle.emplace_back(fd_);
}

void Reactor::Wakeup::wake() const noexcept {
  const std::uint64_t one = 1;
  // Can fail only when the counter is full, and then the reader is awake anyway.
  [[maybe_unused]] const auto written = ::write(fd_, &one, sizeof one);
}

void Reactor::Wakeup::drain() const noexcept {
  std::uint64_t count = 0;
  [[maybe_unused]] const auto got = ::read(fd_, &count, sizeof count);
}

}  // namespace sandbox::aio
