#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <sandbox/result.hpp>

namespace sandbox::http {

/// Where a server is. `unix:///run/x.sock`, `/run/x.sock`, `http://host:port`, `https://host:port`, optionally with a
/// path before every request target (`https://host/prefix`).
struct Endpoint {
  enum class Scheme : std::uint8_t { unix_socket, http, https } scheme = Scheme::unix_socket;
  std::string path;    ///< of the socket
  std::string host;    ///< without brackets
  std::uint16_t port = 0;
  std::string prefix;  ///< "" or "/prefix", no trailing slash

  /// Errors: invalid_argument.
  static Result<Endpoint> parse(std::string_view text);
  /// What parse() reads.
  std::string to_string() const;
  /// Value of the Host header.
  std::string authority() const;
};

}  // namespace sandbox::http
