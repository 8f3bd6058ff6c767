#include "client/port_pipe.hpp"

#include <fcntl.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <span>
#include <string>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>

#include "core/unique_fd.hpp"

namespace sandbox::client {
namespace {

using boost::asio::posix::stream_descriptor;
constexpr std::size_t kBuffer = 64 << 10;

/// Bytes on their way in one direction, and how that direction stands.
struct Flow {
  std::array<std::byte, kBuffer> buffer;
  std::size_t begin = 0, end = 0;
  bool source_ended = false;  ///< nothing more will come
  bool told = false;          ///< and the other side knows
  bool empty() const noexcept { return begin == end; }
  std::span<std::byte> room() noexcept {
    if (empty()) begin = end = 0;
    return std::span(buffer).subspan(end);
  }
  ByteView content() const noexcept { return ByteView(buffer).subspan(begin, end - begin); }
};

}  // namespace

struct PortPipe::Impl {
  Impl(boost::asio::io_context& context, std::unique_ptr<http::WebSocketStream> stream, core::UniqueFd ours)
      : socket(std::move(stream)), local(std::move(ours)), far(context, socket->fd()), near(context, local.get()) {}
  ~Impl() {
    far.release();  // the descriptors belong to others, Asio only watches them
    near.release();
  }

  std::unique_ptr<http::WebSocketStream> socket;
  core::UniqueFd local;
  stream_descriptor far, near;
  Flow out, in;        ///< to the sandbox, from it
  bool far_read_armed = false, far_write_armed = false, near_read_armed = false, near_write_armed = false;
  bool broken = false;
  bool far_full = false, near_full = false;

  /// Moves what can be moved; whether anything was.
  bool carry_out();
  bool carry_in();
  bool over() const noexcept { return broken || (out.told && in.told); }
};

bool PortPipe::Impl::carry_out() {
  bool moved = false;
  far_full = false;
  if (out.empty() && !out.source_ended) {
    const auto room = out.room();
    const ssize_t got = ::recv(local.get(), room.data(), room.size(), MSG_DONTWAIT);
    if (got > 0) out.end += static_cast<std::size_t>(got), moved = true;
    else if (got == 0) out.source_ended = true, moved = true;
    else if (errno != EAGAIN && errno != EINTR) broken = true;
  }
  if (!out.empty()) {
    auto put = socket->write_some(out.content());
    if (!put) {
      put.ignore("the pipe just ends");
      broken = true;
      return false;
    }
    out.begin += *put;
    moved |= *put > 0;
    far_full = !out.empty();
  } else if (out.source_ended && !out.told) {
    auto said = socket->write_end();
    if (!said) {
      said.ignore("the pipe just ends");
      broken = true;
      return false;
    }
    out.told = *said;
    far_full = !*said;
    moved |= *said;
  }
  return moved;
}

bool PortPipe::Impl::carry_in() {
  bool moved = false;
  near_full = false;
  if (in.empty() && !in.source_ended) {
    auto got = socket->read_some(in.room());
    if (!got) {
      // A clean end, or all that came before it broke: either way it is the end for whoever reads.
      got.ignore("the reader sees the end of the stream");
      in.source_ended = out.told = out.source_ended = true;
      moved = true;
    } else if (*got > 0) {
      in.end += *got;
      moved = true;
    } else if (socket->read_end()) {
      in.source_ended = moved = true;
    }
  }
  if (!in.empty()) {
    const ByteView content = in.content();
    const ssize_t put = ::send(local.get(), content.data(), content.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (put > 0) in.begin += static_cast<std::size_t>(put), moved = true;
    else if (put < 0 && errno != EAGAIN && errno != EINTR) broken = true;
    near_full = !in.empty();
  } else if (in.source_ended && !in.told) {
    ::shutdown(local.get(), SHUT_WR);
    in.told = moved = true;
  }
  return moved;
}

PortPipe::PortPipe(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
PortPipe::~PortPipe() = default;

Result<int> PortPipe::open(aio::Reactor& reactor, std::unique_ptr<http::WebSocketStream> socket) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return Error::from_errno(errno, "net.connect");
  core::UniqueFd ours(ends[0]), theirs(ends[1]);
  std::shared_ptr<PortPipe> pipe(new PortPipe(std::make_unique<Impl>(reactor.context(), std::move(socket), std::move(ours))));
  boost::asio::post(reactor.context(), [pipe] { pipe->carry(); });
  return theirs.release();
}

/// On the reactor: carries until nothing moves, then waits for whatever is missing.
void PortPipe::carry() {
  // Bounded, so that one busy connection leaves the others their turn.
  for (int turn = 0; turn < 16; ++turn) {
    bool moved = impl_->carry_out();
    if (!impl_->broken) moved |= impl_->carry_in();
    if (impl_->over()) {
      impl_->socket->say_goodbye();
      impl_->socket->close();
      impl_->far.cancel();
      impl_->near.cancel();
      return;
    }
    if (!moved) return arm();
  }
  boost::asio::post(impl_->far.get_executor(), [self = shared_from_this()] { self->carry(); });
}

void PortPipe::arm() {
  Impl& impl = *impl_;
  const auto wait = [this](stream_descriptor& on, stream_descriptor::wait_type what, bool wanted, bool& armed) {
    if (!wanted || std::exchange(armed, true)) return;
    on.async_wait(what, [self = shared_from_this(), &armed](boost::system::error_code error) {
      armed = false;
      if (!error) self->carry();
    });
  };
  // The WebSocket is read even when the local end is full only until our buffer is: then its own window fills.
  wait(impl.far, stream_descriptor::wait_read, impl.in.empty() && !impl.in.source_ended, impl.far_read_armed);
  wait(impl.far, stream_descriptor::wait_write, impl.far_full, impl.far_write_armed);
  wait(impl.near, stream_descriptor::wait_read, impl.out.empty() && !impl.out.source_ended, impl.near_read_armed);
  wait(impl.near, stream_descriptor::wait_write, impl.near_full, impl.near_write_armed);
}

}  // namespace sandbox::client
