#include "aio/reactor.hpp"

#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <mutex>
#include <optional>
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
  impl_->work.reset();
  impl_->context.stop();
  if (!impl_->thread.joinable() || on_this_thread()) return;
  impl_->thread.join();
  // Completions that were already on their way still run, here, so that no caller waits for ever; the bound is for
  // handlers that post themselves again.
  impl_->context.restart();
  for (int left = kLastHandlers; left > 0 && impl_->context.poll_one() > 0; --left) {
  }
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
