#include "http/server.hpp"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <future>

#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include "http/connection.hpp"
#include "http/listener.hpp"

namespace sandbox::http {
namespace {

constexpr int kAcceptsPerEvent = 64;
constexpr std::size_t kRefusing = 64;  ///< connections over the limit that are told so; more are just closed

Peer describe(const Listener& listener, int fd, const sockaddr_storage& address) {
  Peer peer;
  peer.kind = listener.kind;
  if (peer.is_unix()) {
    peer.address = "@";
    ucred credentials{};
    socklen_t size = sizeof credentials;
    if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) == 0) {
      peer.uid = credentials.uid;
      peer.gid = credentials.gid;
      peer.pid = credentials.pid;
    }
    return peer;
  }
  char text[INET6_ADDRSTRLEN] = "";
  if (address.ss_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
    peer.port = ntohs(v6.sin6_port);
    if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
      ::inet_ntop(AF_INET, v6.sin6_addr.s6_addr + 12, text, sizeof text);
    } else {
      ::inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof text);
    }
  } else {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    peer.port = ntohs(v4.sin_port);
    ::inet_ntop(AF_INET, &v4.sin_addr, text, sizeof text);
  }
  peer.address = text;
  return peer;
}

}  // namespace

struct Server::Impl : Hub, std::enable_shared_from_this<Server::Impl> {
  Impl(boost::asio::io_context& on, ServerOptions with, Handler to)
      : Hub(on, with, std::move(to)), sweep(on), drain_limit(on) {}

  void add(std::unique_ptr<Listener> listener) {
    boost::asio::dispatch(context, [self = shared_from_this(), listener = std::shared_ptr<Listener>(std::move(listener))] {
      if (self->draining || self->stopped) return;
      self->listeners.push_back(listener);
      self->accept(listener);
      if (!self->sweeping) self->tick();
    });
  }
  void accept(const std::shared_ptr<Listener>& listener);
  void take(Listener& listener, core::UniqueFd socket, const sockaddr_storage& address);
  void tick();
  core::Duration tick_every() const;
  void drain(core::TimePoint deadline, std::function<void()> done);
  void stop_now();

  std::vector<std::shared_ptr<Listener>> listeners;
  boost::asio::steady_timer sweep, drain_limit;
  bool sweeping = false, stopped = false;
};

void Server::Impl::accept(const std::shared_ptr<Listener>& listener) {
  listener->descriptor.async_wait(Listener::Descriptor::wait_read, [self = shared_from_this(), listener](boost::system::error_code error) {
    if (error || self->draining || self->stopped) return;
    for (int i = 0; i < kAcceptsPerEvent; ++i) {
      sockaddr_storage address{};
      socklen_t size = sizeof address;
      core::UniqueFd socket(
          ::accept4(listener->socket.get(), reinterpret_cast<sockaddr*>(&address), &size, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (socket) {
        self->take(*listener, std::move(socket), address);
        continue;
      }
      if (errno == EINTR || errno == ECONNABORTED) continue;
      if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        // The descriptor stays readable; asking again at once would spin until somebody else closes something.
        auto pause = std::make_shared<boost::asio::steady_timer>(self->context, std::chrono::milliseconds(100));
        pause->async_wait([self, listener, pause](boost::system::error_code) { self->accept(listener); });
        return;
      }
      break;
    }
    self->accept(listener);
  });
}

void Server::Impl::take(Listener& listener, core::UniqueFd socket, const sockaddr_storage& address) {
  const std::size_t open = connections.load(std::memory_order_relaxed);
  if (open >= options.max_connections + kRefusing) return;
  Peer peer = describe(listener, socket.get(), address);
  if (!peer.is_unix()) {
    const int on = 1, idle = 60, interval = 15, count = 4;
    ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ::setsockopt(socket.get(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    ::setsockopt(socket.get(), IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    ::setsockopt(socket.get(), IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
    ::setsockopt(socket.get(), IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
  }
  Transport transport(std::move(socket));
  if (listener.tls) {
    if (auto started = transport.start_tls_server(listener.tls); !started) return started.ignore("the connection is dropped");
  }
  auto connection = std::make_shared<Connection>(shared_from_this(), std::move(transport), std::move(peer));
  if (open >= options.max_connections) connection->refuse();
  connection->open();
}

core::Duration Server::Impl::tick_every() const {
  const core::Duration shortest = std::min({options.header_timeout, options.idle_timeout, options.body_timeout, options.write_timeout});
  return std::clamp<core::Duration>(shortest / 4, std::chrono::milliseconds(10), std::chrono::seconds(1));
}

void Server::Impl::tick() {
  sweeping = true;
  sweep.expires_after(tick_every());
  sweep.async_wait([self = shared_from_this()](boost::system::error_code error) {
    if (error || self->stopped) return;
    const auto now = core::SteadyClock::now();
    // A copy: one that is told may close itself and others.
    const std::vector<std::shared_ptr<Carrier>> all(self->carriers.begin(), self->carriers.end());
    for (const auto& carrier : all) {
      if (carrier->is_open()) carrier->on_tick(now);
    }
    self->tick();
  });
}

void Server::Impl::drain(core::TimePoint deadline, std::function<void()> done) {
  if (stopped || draining) {
    if (done) done();
    return;
  }
  draining = true;
  for (const auto& listener : std::exchange(listeners, {})) listener->close();
  auto finish = std::make_shared<std::function<void()>>(std::move(done));
  on_empty = [self = shared_from_this(), finish] {
    // From the loop: whoever closed last is still on the stack.
    boost::asio::post(self->context, [self, finish] {
      self->drain_limit.cancel();
      self->on_empty = nullptr;
      if (*finish) std::exchange(*finish, nullptr)();
    });
  };
  const std::vector<std::shared_ptr<Carrier>> all(carriers.begin(), carriers.end());
  for (const auto& carrier : all) {
    if (carrier->is_open()) carrier->on_drain();
  }
  if (carriers.empty()) {
    if (on_empty) on_empty();
    return;
  }
  drain_limit.expires_at(deadline);
  drain_limit.async_wait([self = shared_from_this()](boost::system::error_code error) {
    if (error) return;
    const std::vector<std::shared_ptr<Carrier>> left(self->carriers.begin(), self->carriers.end());
    for (const auto& carrier : left) {
      if (carrier->is_open()) carrier->on_broken();
    }
  });
}

void Server::Impl::stop_now() {
  if (std::exchange(stopped, true)) return;
  for (const auto& listener : std::exchange(listeners, {})) listener->close();
  sweep.cancel();
  const std::vector<std::shared_ptr<Carrier>> all(carriers.begin(), carriers.end());
  for (const auto& carrier : all) {
    if (carrier->is_open()) carrier->on_drain();
    if (carrier->is_open()) carrier->on_broken();
  }
  handler = [](const std::shared_ptr<Exchange>&) {};
}

Server::Server(boost::asio::io_context& context, ServerOptions options, Handler handler)
    : impl_(std::make_shared<Impl>(context, options, std::move(handler))) {}

Server::~Server() { stop(); }

Result<void> Server::listen_unix(const std::string& path, mode_t mode) {
  SANDBOX_TRY(auto listener, bind_unix(impl_->context, path, mode));
  impl_->add(std::move(listener));
  return {};
}

Result<std::uint16_t> Server::listen_tcp(const std::string& address) {
  SANDBOX_TRY(auto listener, bind_tcp(impl_->context, address));
  const std::uint16_t port = listener->port;
  impl_->add(std::move(listener));
  return port;
}

Result<std::uint16_t> Server::listen_tls(const std::string& address, const std::string& certificate, const std::string& key) {
  SANDBOX_TRY(auto tls, TlsContext::server(certificate, key));
  SANDBOX_TRY(auto listener, bind_tcp(impl_->context, address));
  listener->kind = Peer::Kind::tls;
  listener->tls = std::move(tls);
  const std::uint16_t port = listener->port;
  impl_->add(std::move(listener));
  return port;
}

Result<void> Server::renew_tls(const std::string& certificate, const std::string& key) {
  SANDBOX_TRY(auto tls, TlsContext::server(certificate, key));
  boost::asio::post(impl_->context, [impl = impl_, tls = std::move(tls)] {
    for (const auto& listener : impl->listeners)
      if (listener->tls) listener->tls = tls;
  });
  return {};
}

void Server::drain(core::TimePoint deadline, std::function<void()> done) {
  boost::asio::post(impl_->context, [impl = impl_, deadline, done = std::move(done)]() mutable {
    impl->drain(deadline, std::move(done));
  });
}

void Server::stop() {
  if (impl_->context.get_executor().running_in_this_thread() || impl_->context.stopped()) return impl_->stop_now();
  std::promise<void> done;
  boost::asio::post(impl_->context, [&] {
    impl_->stop_now();
    done.set_value();
  });
  done.get_future().wait();
}

std::size_t Server::connections() const noexcept { return impl_->connections; }
std::size_t Server::websockets() const noexcept { return impl_->websockets; }

}  // namespace sandbox::http
