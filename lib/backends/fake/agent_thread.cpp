#include "backends/fake/agent_thread.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <cerrno>

namespace sandbox::backends::fake {

AgentThread::AgentThread(core::UniqueFd socket, session::Options options, Serve serve,
                         std::optional<crypto::SecureChannel> channel)
    : socket_(std::move(socket)),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      session_(session::Role::agent, std::move(options), *this),
      endpoint_(channel ? session::Endpoint(session_, *std::move(channel)) : session::Endpoint(session_)),
      serve_(std::move(serve)),
      thread_([this] { run(); }) {}

AgentThread::~AgentThread() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
    frozen_ = false;
  }
  wake();
  thread_.join();
}

void AgentThread::die() {
  std::lock_guard lock(mutex_);
  ::shutdown(socket_.get(), SHUT_RDWR);
  stop_ = true;
  wake();
}

void AgentThread::inject(std::string bytes) {
  std::lock_guard lock(mutex_);
  injected_ += bytes;
  wake();
}

void AgentThread::freeze() {
  std::unique_lock lock(mutex_);
  frozen_ = true;
  wake();
  changed_.wait(lock, [&] { return standing_ || stop_; });
}

void AgentThread::thaw() {
  std::lock_guard lock(mutex_);
  frozen_ = false;
  wake();
}

void AgentThread::wake() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(wake_.get(), &one, sizeof one);
}

session::StreamHandler* AgentThread::on_open(session::StreamId stream, protocol::Method method, ByteView params, std::string_view) {
  auto served = serve_(session_, stream, method, params);
  if (!served) {
    session_.end(stream, session::end_of(Error(ErrorCode::unsupported, "the scripted agent does not do this")));
    return nullptr;
  }
  return (streams_[stream] = std::move(served)).get();
}

void AgentThread::run() {
  std::vector<std::byte> buffer(256 << 10);
  bool blocked = false;
  for (;;) {
    bool frozen = false;
    {
      std::lock_guard lock(mutex_);
      if (stop_) break;
      frozen = standing_ = frozen_;
      changed_.notify_all();
      if (!injected_.empty()) {
        [[maybe_unused]] const auto sent = ::send(socket_.get(), injected_.data(), injected_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        injected_.clear();
      }
    }
    pollfd polled[2] = {{socket_.get(), static_cast<short>(POLLIN | (blocked ? POLLOUT : 0)), 0}, {wake_.get(), POLLIN, 0}};
    if (frozen) polled[0].fd = -1;
    if (!frozen) {
      blocked = false;
      while (!session_.failed()) {
        const ByteView bytes = endpoint_.output();
        if (bytes.empty()) break;
        const auto put = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (put < 0) {
          blocked = errno == EAGAIN;
          break;
        }
        endpoint_.sent(static_cast<std::size_t>(put));
      }
      if (blocked) polled[0].events |= POLLOUT;
    }
    if (::poll(polled, 2, -1) < 0) continue;
    if (polled[1].revents) {
      std::uint64_t count = 0;
      [[maybe_unused]] const auto got = ::read(wake_.get(), &count, sizeof count);
    }
    if (frozen || !(polled[0].revents & ~POLLOUT)) continue;
    const auto got = ::recv(socket_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (got <= 0) break;
    if (auto fed = endpoint_.receive(ByteView(buffer.data(), static_cast<std::size_t>(got))); !fed) {
      fed.error().ignore("the client broke the rules; a scripted agent just ends");
      break;
    }
  }
  ::shutdown(socket_.get(), SHUT_RDWR);
  session_.fail(Error(ErrorCode::unavailable, "the scripted agent ended"));
  std::lock_guard lock(mutex_);
  stop_ = true;
  changed_.notify_all();
}

}  // namespace sandbox::backends::fake
