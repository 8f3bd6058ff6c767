#include "runtime/exit_monitor.hpp"

#include <sys/epoll.h>

#include <array>
#include <cerrno>
#include <mutex>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>

#include "core/unique_fd.hpp"

namespace sandbox::runtime {

struct ExitMonitor::Impl : std::enable_shared_from_this<ExitMonitor::Impl> {
  Impl(aio::Reactor& loop, int fd, std::function<void(std::uint64_t)> callback)
      : reactor(loop), epoll(fd), descriptor(loop.context()), on_exit(std::move(callback)) {}

  void wait() {
    descriptor.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                          [self = shared_from_this()](const boost::system::error_code& error) {
                            if (!error) self->drain();
                          });
  }

  void drain() {
    std::array<epoll_event, 64> events;
    std::lock_guard lock(running);
    int count = 0;
    do {
      if (stopped) return;
      count = ::epoll_wait(epoll, events.data(), static_cast<int>(events.size()), 0);
      for (int i = 0; i < count; ++i) on_exit(events[static_cast<std::size_t>(i)].data.u64);
    } while (count > 0);
    wait();
  }

  aio::Reactor& reactor;
  const int epoll;  ///< owned by `descriptor`
  boost::asio::posix::stream_descriptor descriptor;  // reactor thread only
  std::function<void(std::uint64_t)> on_exit;
  std::recursive_mutex running;  ///< held while callbacks run; recursive: a callback may drop the last owner
  bool stopped = false;
};

ExitMonitor::ExitMonitor(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

ExitMonitor::~ExitMonitor() {
  {
    std::lock_guard lock(impl_->running);
    impl_->stopped = true;
  }
  boost::asio::post(impl_->reactor.context(), [impl = impl_] {
    boost::system::error_code ignored;
    impl->descriptor.close(ignored);
  });
}

Result<std::unique_ptr<ExitMonitor>> ExitMonitor::make(aio::Reactor& reactor, std::function<void(std::uint64_t)> on_exit) {
  core::UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return Error::from_errno(errno, "runtime.epoll");
  auto impl = std::make_shared<Impl>(reactor, epoll.get(), std::move(on_exit));
  boost::system::error_code error;
  impl->descriptor.assign(epoll.get(), error);
  if (error) return Error(ErrorCode::internal, "epoll on the reactor: " + error.message()).with_operation("runtime.epoll");
  static_cast<void>(epoll.release());
  boost::asio::post(reactor.context(), [impl] { impl->wait(); });
  return std::unique_ptr<ExitMonitor>(new ExitMonitor(std::move(impl)));
}

Result<void> ExitMonitor::add(int fd, std::uint64_t token) {
  epoll_event event{};
  // One shot: a descriptor that stays readable is reported once and costs nothing afterwards.
  event.events = EPOLLIN | EPOLLONESHOT;
  event.data.u64 = token;
  if (::epoll_ctl(impl_->epoll, EPOLL_CTL_ADD, fd, &event) != 0) return Error::from_errno(errno, "runtime.watch");
  return {};
}

void ExitMonitor::remove(int fd) noexcept { ::epoll_ctl(impl_->epoll, EPOLL_CTL_DEL, fd, nullptr); }

}  // namespace sandbox::runtime
