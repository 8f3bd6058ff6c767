#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <fstream>
#include <iterator>

#include "conformance/scenarios/operations.hpp"

namespace sandbox::scenarios {

SocketHandle::~SocketHandle() { ::close(fd_); }

namespace {

Result<Object> open_socket(const Call& call) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  auto handle = std::make_shared<SocketHandle>(fd);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(call.args.number("port")));
  if (::inet_pton(AF_INET, call.args.text("address").c_str(), &address.sin_addr) != 1) throw Surprise("no address");
  if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    if (errno == ECONNREFUSED) return Error(ErrorCode::unavailable, "connection refused");
    return Error::from_errno(errno, "connect");
  }
  call.made = std::move(handle);
  return Object();
}

Result<Object> write_all(int fd, const std::string& content) {
  for (std::size_t sent = 0; sent < content.size();) {
    const ssize_t n = ::send(fd, content.data() + sent, content.size() - sent, MSG_NOSIGNAL);
    if (n < 0) return Error::from_errno(errno, "send");
    sent += static_cast<std::size_t>(n);
  }
  return Object();
}

Result<Object> read_all(int fd, std::int64_t timeout_ms) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
  std::string content;
  char buffer[65536];
  for (;;) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
    pollfd waiting = {fd, POLLIN, 0};
    if (left <= 0 || ::poll(&waiting, 1, static_cast<int>(left)) <= 0)
      return Error(ErrorCode::deadline_exceeded, "nothing more came");
    const ssize_t n = ::recv(fd, buffer, sizeof buffer, 0);
    if (n < 0) return Error::from_errno(errno, "recv");
    if (n == 0) return Object{{"content", content}};
    content.append(buffer, static_cast<std::size_t>(n));
  }
}

}  // namespace

std::optional<Result<Object>> perform_on_host(const Call& call) {
  const std::string& what = call.operation;
  if (what == "socket.open") return open_socket(call);
  if (what == "socket.write") return write_all(call.object<SocketHandle>().fd(), call.args.text("content"));
  if (what == "socket.read_all")
    return read_all(call.object<SocketHandle>().fd(), call.args.number("timeout_ms", 10000));
  if (what == "socket.end") {
    ::shutdown(call.object<SocketHandle>().fd(), SHUT_WR);
    return Object();
  }
  if (what == "host.write") {
    std::ofstream file(call.args.text("path"), std::ios::binary);
    file << call.args.text("content");
    if (!file.flush()) throw Surprise("the file cannot be written");
    return Object();
  }
  if (what == "host.read") {
    std::ifstream file(call.args.text("path"), std::ios::binary);
    if (!file) return Error(ErrorCode::not_found, "no such file");
    return Object{{"content", std::string(std::istreambuf_iterator<char>(file), {})}};
  }
  return std::nullopt;
}

}  // namespace sandbox::scenarios
