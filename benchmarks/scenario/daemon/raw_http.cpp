#include "raw_http.hpp"

#include <cerrno>
#include <charconv>
#include <cstring>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <utility>

namespace bench {

using sandbox::Error;
using sandbox::ErrorCode;
using sandbox::Result;

Result<RawConnection> RawConnection::open(const std::string& socket_path) {
  sandbox::core::UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return Error::from_errno(errno, "bench.socket");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket_path.size() >= sizeof address.sun_path) return Error(ErrorCode::invalid_argument, "the socket's path is too long");
  std::memcpy(address.sun_path, socket_path.c_str(), socket_path.size() + 1);
  int connected;
  do connected = ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  while (connected != 0 && errno == EINTR);
  if (connected != 0) return Error::from_errno(errno, "bench.connect", socket_path);
  return RawConnection(std::move(socket));
}

Result<void> RawConnection::write(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Error::from_errno(errno, "bench.send");
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
  return {};
}

Result<std::string> RawConnection::read_some(std::chrono::milliseconds limit) {
  if (!input_.empty()) return std::exchange(input_, {});
  pollfd polled{socket_.get(), POLLIN, 0};
  const int ready = ::poll(&polled, 1, static_cast<int>(limit.count()));
  if (ready < 0) return Error::from_errno(errno, "bench.poll");
  if (ready == 0) return Error(ErrorCode::deadline_exceeded, "no answer from the daemon");
  char buffer[16384];
  const ssize_t count = ::recv(socket_.get(), buffer, sizeof buffer, 0);
  if (count < 0) return Error::from_errno(errno, "bench.recv");
  return std::string(buffer, static_cast<std::size_t>(count));
}

Result<std::string> RawConnection::read_head(std::chrono::milliseconds limit) {
  std::string head;
  for (;;) {
    SANDBOX_TRY(const std::string more, read_some(limit));
    if (more.empty()) return Error(ErrorCode::unavailable, "the daemon closed the connection");
    head += more;
    const auto end = head.find("\r\n\r\n");
    if (end == head.npos) continue;
    input_ = head.substr(end + 4);
    head.resize(end + 2);
    return head;
  }
}

namespace {

int status_of(std::string_view head) {
  int status = 0;
  if (head.size() > 12) std::from_chars(head.data() + 9, head.data() + 12, status);
  return status;
}

std::size_t length_of(std::string_view head) {
  constexpr std::string_view kName = "\r\ncontent-length:";
  for (std::size_t at = 0; at + kName.size() < head.size(); ++at) {
    if (::strncasecmp(head.data() + at, kName.data(), kName.size()) != 0) continue;
    at += kName.size();
    while (head[at] == ' ') ++at;
    std::size_t length = 0;
    std::from_chars(head.data() + at, head.data() + head.size(), length);
    return length;
  }
  return 0;
}

}  // namespace

Result<RawResponse> RawConnection::request(std::string_view method, std::string_view target, std::string_view body,
                                           std::chrono::milliseconds limit) {
  std::string text;
  text.append(method).append(" ").append(target).append(" HTTP/1.1\r\nHost: sandbox\r\n");
  if (!body.empty()) text += "Content-Length: " + std::to_string(body.size()) + "\r\n";
  text.append("\r\n").append(body);
  SANDBOX_CHECK(write(text));
  SANDBOX_TRY(const std::string head, read_head(limit));
  RawResponse response;
  response.status = status_of(head);
  const std::size_t length = length_of(head);
  response.body = std::exchange(input_, {});
  while (response.body.size() < length) {
    SANDBOX_TRY(const std::string more, read_some(limit));
    if (more.empty()) return Error(ErrorCode::unavailable, "the daemon closed the connection in the middle of an answer");
    response.body += more;
  }
  input_ = response.body.substr(length);
  response.body.resize(length);
  return response;
}

Result<void> RawConnection::upgrade(std::string_view target, std::string_view subprotocol) {
  std::string text = "GET ";
  text.append(target).append(" HTTP/1.1\r\nHost: sandbox\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                             "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n");
  if (!subprotocol.empty()) text.append("Sec-WebSocket-Protocol: ").append(subprotocol).append("\r\n");
  text += "\r\n";
  SANDBOX_CHECK(write(text));
  SANDBOX_TRY(const std::string head, read_head(std::chrono::seconds(30)));
  if (status_of(head) != 101) return Error(ErrorCode::failed_precondition, "no WebSocket: " + head.substr(0, head.find('\r')));
  return {};
}

std::string websocket_message(int opcode, std::string_view payload) {
  std::string frame(1, static_cast<char>(0x80 | opcode));
  const std::size_t size = payload.size();
  if (size < 126) {
    frame += static_cast<char>(0x80 | size);
  } else {
    const int bytes = size < 65536 ? 2 : 8;
    frame += static_cast<char>(0x80 | (bytes == 2 ? 126 : 127));
    for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) frame += static_cast<char>(size >> shift & 0xff);
  }
  frame.append(4, '\0');
  return frame.append(payload);
}

std::string json_value(std::string_view json, std::string_view key) {
  const std::string name = "\"" + std::string(key) + "\":";
  const auto at = json.find(name);
  if (at == json.npos) return {};
  json.remove_prefix(at + name.size());
  if (json.starts_with('"')) return std::string(json.substr(1, json.find('"', 1) - 1));
  return std::string(json.substr(0, json.find_first_of(",}]")));
}

}  // namespace bench
