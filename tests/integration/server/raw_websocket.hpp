#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/unique_fd.hpp"

namespace sandbox::testing {

/// A connection to the unix socket at `path`; empty when there is none to be had.
core::UniqueFd connect_unix(const std::string& path);

/// A small WebSocket client over a unix socket, as an old SDK has one: blocking, whole messages, nothing clever.
class RawWebSocket {
 public:
  struct Message {
    std::uint8_t opcode = 0;  ///< 1 text, 2 binary, 8 close
    std::string payload;
    std::uint16_t close_code() const;
    std::string close_reason() const { return payload.size() > 2 ? payload.substr(2) : ""; }
  };

  /// Connects and upgrades; `headers` are whole lines ("Name: value\r\n"). Sets status() in any case.
  RawWebSocket(const std::string& socket_path, const std::string& target, const std::string& headers = {});
  unsigned status() const noexcept { return status_; }
  const std::string& response() const noexcept { return response_; }

  void send(std::uint8_t opcode, std::string_view payload);
  void text(std::string_view payload) { send(1, payload); }
  void close(std::uint16_t code);
  /// Drops the connection without a word.
  void cut() { fd_.reset(); }
  /// The next message; nothing when the connection ended or nothing came in time.
  std::optional<Message> next(std::chrono::milliseconds timeout = std::chrono::seconds(10));
  /// The next text message that contains `part`; others are dropped.
  std::string find(std::string_view part, std::chrono::milliseconds timeout = std::chrono::seconds(10));

 private:
  bool fill(std::size_t size, std::chrono::steady_clock::time_point until);
  core::UniqueFd fd_;
  unsigned status_ = 0;
  std::string response_;
  std::string buffer_;
};

}  // namespace sandbox::testing
