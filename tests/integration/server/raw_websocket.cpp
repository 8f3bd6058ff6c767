#include "raw_websocket.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>

namespace sandbox::testing {

std::uint16_t RawWebSocket::Message::close_code() const {
  if (payload.size() < 2) return 1005;
  return static_cast<std::uint16_t>(static_cast<unsigned char>(payload[0]) << 8 | static_cast<unsigned char>(payload[1]));
}

core::UniqueFd connect_unix(const std::string& path) {
  core::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) fd.reset();
  return fd;
}

RawWebSocket::RawWebSocket(const std::string& socket_path, const std::string& target, const std::string& headers)
    : fd_(connect_unix(socket_path)) {
  if (!fd_) return;
  const std::string request = "GET " + target +
                              " HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                              "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
                              headers + "\r\n";
  if (::send(fd_.get(), request.data(), request.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(request.size())) return;
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (buffer_.find("\r\n\r\n") == std::string::npos)
    if (!fill(buffer_.size() + 1, until)) break;
  const std::size_t end = buffer_.find("\r\n\r\n");
  if (end == std::string::npos || buffer_.size() < 12) return;
  response_ = buffer_;
  status_ = static_cast<unsigned>(std::stoul(buffer_.substr(9, 3)));
  buffer_.erase(0, end + 4);
}

bool RawWebSocket::fill(std::size_t size, std::chrono::steady_clock::time_point until) {
  while (buffer_.size() < size) {
    if (!fd_) return false;
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - std::chrono::steady_clock::now()).count();
    pollfd polled{fd_.get(), POLLIN, 0};
    if (left <= 0 || ::poll(&polled, 1, static_cast<int>(left)) <= 0) return false;
    char bytes[65536];
    const ssize_t got = ::recv(fd_.get(), bytes, sizeof bytes, 0);
    if (got <= 0) return false;
    buffer_.append(bytes, static_cast<std::size_t>(got));
  }
  return true;
}

void RawWebSocket::send(std::uint8_t opcode, std::string_view payload) {
  std::string frame;
  frame += static_cast<char>(0x80 | opcode);
  if (payload.size() < 126) {
    frame += static_cast<char>(0x80 | payload.size());
  } else if (payload.size() < 65536) {
    frame += static_cast<char>(0x80 | 126);
    frame += static_cast<char>(payload.size() >> 8);
    frame += static_cast<char>(payload.size());
  } else {
    frame += static_cast<char>(0x80 | 127);
    for (int shift = 56; shift >= 0; shift -= 8) frame += static_cast<char>(static_cast<std::uint64_t>(payload.size()) >> shift);
  }
  frame.append(4, '\0');  // a mask of zero is a mask
  frame += payload;
  std::size_t at = 0;
  while (fd_ && at < frame.size()) {
    const ssize_t sent = ::send(fd_.get(), frame.data() + at, frame.size() - at, MSG_NOSIGNAL);
    if (sent <= 0) return;
    at += static_cast<std::size_t>(sent);
  }
}

void RawWebSocket::close(std::uint16_t code) {
  const char payload[2] = {static_cast<char>(code >> 8), static_cast<char>(code)};
  send(8, {payload, 2});
}

std::optional<RawWebSocket::Message> RawWebSocket::next(std::chrono::milliseconds timeout) {
  const auto until = std::chrono::steady_clock::now() + timeout;
  if (!fill(2, until)) return std::nullopt;
  const auto byte = [&](std::size_t at) { return static_cast<std::uint64_t>(static_cast<unsigned char>(buffer_[at])); };
  std::size_t head = 2;
  std::uint64_t length = byte(1) & 127;
  const std::size_t more = length == 126 ? 2 : length == 127 ? 8 : 0;
  if (more > 0) {
    if (!fill(head + more, until)) return std::nullopt;
    length = 0;
    for (std::size_t i = 0; i < more; ++i) length = length << 8 | byte(head + i);
    head += more;
  }
  if (!fill(head + length, until)) return std::nullopt;
  Message message{static_cast<std::uint8_t>(byte(0) & 15), buffer_.substr(head, length)};
  buffer_.erase(0, head + length);
  return message;
}

std::string RawWebSocket::find(std::string_view part, std::chrono::milliseconds timeout) {
  const auto until = std::chrono::steady_clock::now() + timeout;
  while (std::chrono::steady_clock::now() < until) {
    const auto message = next(std::chrono::duration_cast<std::chrono::milliseconds>(until - std::chrono::steady_clock::now()));
    if (!message) return {};
    if (message->opcode == 1 && message->payload.find(part) != std::string::npos) return message->payload;
  }
  return {};
}

}  // namespace sandbox::testing
