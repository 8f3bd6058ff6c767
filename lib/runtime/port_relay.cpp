#include "runtime/port_relay.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <future>
#include <set>

#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>

namespace sandbox::runtime {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;

constexpr std::size_t kBuffer = 64 << 10;

/// Both ends of one relayed connection. Reactor thread only.
class Pair : public std::enable_shared_from_this<Pair> {
 public:
  Pair(tcp::socket outside, asio::io_context& context, std::function<void(Pair*)> done)
      : outside_(std::move(outside)), inside_(context), done_(std::move(done)) {}

  void start(core::UniqueFd fd) {
    boost::system::error_code error;
    inside_.assign(tcp::v4(), fd.get(), error);
    if (error) return close();
    static_cast<void>(fd.release());
    inside_.non_blocking(true, error);
    outside_.non_blocking(true, error);
    const int on = 1;  // a relay must not add Nagle's delay on top of what both ends chose
    ::setsockopt(outside_.native_handle(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ::setsockopt(inside_.native_handle(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    pump(outside_, inside_, inwards_);
    pump(inside_, outside_, outwards_);
  }

  void close() {
    boost::system::error_code ignored;
    outside_.close(ignored);
    inside_.close(ignored);
    if (auto done = std::exchange(done_, nullptr)) done(this);
  }

 private:
  struct Direction {
    std::array<std::byte, kBuffer> buffer;
    bool ended = false;
  };

  void pump(tcp::socket& from, tcp::socket& to, Direction& direction) {
    from.async_read_some(asio::buffer(direction.buffer), [this, self = shared_from_this(), &from, &to, &direction](
                                                            const boost::system::error_code& error, std::size_t count) {
      if (error == asio::error::eof) {
        boost::system::error_code ignored;
        to.shutdown(tcp::socket::shutdown_send, ignored);
        direction.ended = true;
        if (inwards_.ended && outwards_.ended) close();
        return;
      }
      if (error) return close();
      asio::async_write(to, asio::buffer(direction.buffer, count),
                        [this, self, &from, &to, &direction](const boost::system::error_code& failed, std::size_t) {
                          if (failed) return close();
                          pump(from, to, direction);
                        });
    });
  }

  tcp::socket outside_, inside_;
  Direction inwards_, outwards_;
  std::function<void(Pair*)> done_;
};

}  // namespace

struct PortRelay::Impl : std::enable_shared_from_this<PortRelay::Impl> {
  Impl(aio::Reactor& loop, WorkerThreads& threads, std::size_t most_connections, bool closes_excess, Dial call)
      : reactor(loop), workers(threads), most(most_connections), close_excess(closes_excess), dial(std::move(call)),
        acceptor(loop.context()), retry(loop.context()) {}

  bool full() const noexcept { return most > 0 && pairs.size() >= most; }

  void accept() {
    if (closed || accepting || (full() && !close_excess)) return;
    accepting = true;
    acceptor.async_accept([self = shared_from_this()](const boost::system::error_code& error, tcp::socket socket) {
      self->accepting = false;
      if (self->closed) return;
      if (error) {  // out of descriptors, most likely: the connection waits in the listen queue meanwhile
        self->retry.expires_after(std::chrono::milliseconds(100));
        self->retry.async_wait([self](const boost::system::error_code& cancelled) {
          if (!cancelled) self->accept();
        });
        return;
      }
      if (self->full()) {
        boost::system::error_code ignored;
        socket.close(ignored);
        return self->accept();
      }
      auto pair = std::make_shared<Pair>(std::move(socket), self->reactor.context(), [weak = self->weak_from_this()](Pair* done) {
        if (auto owner = weak.lock()) owner->ended(done);
      });
      self->pairs.insert(pair);
      const bool posted = self->workers.post([self, pair, call = self->dial] {
        auto fd = std::make_shared<Result<core::UniqueFd>>(call());
        asio::post(self->reactor.context(), [self, pair, fd] {
          if (!*fd) {
            fd->error().ignore("the connection is closed, which is what its other end can see");
            pair->close();
          } else if (self->closed) {
            pair->close();
          } else {
            pair->start(std::move(**fd));
          }
        });
      });
      if (!posted) pair->close();
      self->accept();
    });
  }

  void ended(Pair* pair) {
    std::erase_if(pairs, [&](const std::shared_ptr<Pair>& other) { return other.get() == pair; });
    accept();
  }

  void shut() {
    closed = true;
    boost::system::error_code ignored;
    acceptor.close(ignored);
    retry.cancel();
    const auto open = std::exchange(pairs, {});
    for (const auto& pair : open) pair->close();
    dial = nullptr;
  }

  aio::Reactor& reactor;
  WorkerThreads& workers;
  const std::size_t most;
  const bool close_excess;
  Dial dial;
  tcp::acceptor acceptor;
  asio::steady_timer retry;
  std::set<std::shared_ptr<Pair>> pairs;
  std::uint16_t port = 0;
  bool accepting = false;
  bool closed = false;
};

PortRelay::PortRelay(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

Result<std::unique_ptr<PortRelay>> PortRelay::open(aio::Reactor& reactor, WorkerThreads& workers, PortRelayOptions options,
                                                   Dial dial) {
  boost::system::error_code error;
  const auto address = asio::ip::make_address(options.host_address, error);
  if (error) return Error(ErrorCode::invalid_argument, "not an address: \"" + options.host_address + "\"").with_operation("runtime.expose");
  const tcp::endpoint wanted(address, options.host_port);
  const std::string what = options.host_address + ":" + std::to_string(options.host_port);

  core::UniqueFd socket(::socket(wanted.data()->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return Error::from_errno(errno, "runtime.expose", what);
  const int on = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(socket.get(), wanted.data(), static_cast<socklen_t>(wanted.size())) != 0 || ::listen(socket.get(), 128) != 0) {
    if (errno == EADDRINUSE)
      return Error(ErrorCode::already_exists, what + " is in use").with_operation("runtime.expose").with_errno(EADDRINUSE);
    return Error::from_errno(errno, "runtime.expose", what);
  }

  auto impl = std::make_shared<Impl>(reactor, workers, options.max_connections, options.close_excess, std::move(dial));
  impl->acceptor.assign(wanted.protocol(), socket.get(), error);
  if (error) return Error(ErrorCode::internal, what + ": " + error.message()).with_operation("runtime.expose");
  static_cast<void>(socket.release());
  impl->port = impl->acceptor.local_endpoint(error).port();
  if (error) return Error(ErrorCode::internal, what + ": " + error.message()).with_operation("runtime.expose");
  asio::post(reactor.context(), [impl] { impl->accept(); });
  return std::unique_ptr<PortRelay>(new PortRelay(std::move(impl)));
}

PortRelay::~PortRelay() {
  if (impl_->reactor.on_this_thread()) {
    impl_->shut();
    return;
  }
  auto closed = std::make_shared<std::promise<void>>();
  auto done = closed->get_future();
  asio::post(impl_->reactor.context(), [impl = impl_, closed] {
    impl->shut();
    closed->set_value();
  });
  // A stopped reactor runs nothing any more; its sockets are closed with its context. The runtime closes boxes first.
  done.wait_for(std::chrono::seconds(2));
}

std::uint16_t PortRelay::host_port() const noexcept { return impl_->port; }

}  // namespace sandbox::runtime
