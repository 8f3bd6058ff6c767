#include <sys/socket.h>

#include <cerrno>

#include "link/link.hpp"

namespace sandbox::link {
namespace {

class SocketStream final : public ByteStream {
 public:
  explicit SocketStream(core::UniqueFd socket) : socket_(std::move(socket)) {}

  Result<std::size_t> read_some(std::span<std::byte> buffer) override {
    for (;;) {
      const auto got = ::recv(socket_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
      if (got > 0) return static_cast<std::size_t>(got);
      if (got == 0) return Error(ErrorCode::unavailable, "the other end closed the connection").with_operation("link.read");
      if (errno == EAGAIN || errno == EWOULDBLOCK) return std::size_t{0};
      if (errno != EINTR) return lost("link.read");
    }
  }

  Result<std::size_t> write_some(ByteView bytes) override {
    for (;;) {
      const auto put = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (put >= 0) return static_cast<std::size_t>(put);
      if (errno == EAGAIN || errno == EWOULDBLOCK) return std::size_t{0};
      if (errno != EINTR) return lost("link.write");
    }
  }

  int fd() const noexcept override { return socket_.get(); }
  void shut_down() noexcept override { ::shutdown(socket_.get(), SHUT_RDWR); }
  void close() noexcept override { socket_.reset(); }

 private:
  /// Whatever the errno, to the caller a broken connection is one thing: the other side is gone.
  static Error lost(const char* operation) {
    const int cause = errno;
    return Error(ErrorCode::unavailable, "the connection broke").with_operation(operation).with_errno(cause);
  }

  core::UniqueFd socket_;
};

}  // namespace

std::unique_ptr<ByteStream> socket_stream(core::UniqueFd socket) { return std::make_unique<SocketStream>(std::move(socket)); }

}  // namespace sandbox::link
