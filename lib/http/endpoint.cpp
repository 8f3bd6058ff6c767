#include "http/endpoint.hpp"

#include "core/text.hpp"

namespace sandbox::http {
namespace {

Error bad(std::string_view text, const char* why) {
  return Error(ErrorCode::invalid_argument, "endpoint \"" + core::escape_control(text) + "\": " + why).with_operation("http.endpoint");
}

}  // namespace

Result<Endpoint> Endpoint::parse(std::string_view text) {
  Endpoint endpoint;
  const std::string_view whole = text;
  for (const char c : text) {
    if (static_cast<unsigned char>(c) <= ' ' || c == 0x7f) return bad(whole, "has blanks or control characters");
  }
  if (text.starts_with("unix://")) text.remove_prefix(7);
  else if (text.starts_with("unix:")) text.remove_prefix(5);
  if (text.starts_with('/')) {
    if (text.size() > 107) return bad(whole, "the socket path is longer than 107 bytes");
    endpoint.path = text;
    return endpoint;
  }
  if (text.starts_with("http://")) {
    endpoint.scheme = Scheme::http;
    endpoint.port = 80;
    text.remove_prefix(7);
  } else if (text.starts_with("https://")) {
    endpoint.scheme = Scheme::https;
    endpoint.port = 443;
    text.remove_prefix(8);
  } else {
    return bad(whole, "expected unix:///path, http://host:port or https://host:port");
  }
  const auto slash = text.find('/');
  std::string_view authority = text.substr(0, slash);
  if (slash != std::string_view::npos) endpoint.prefix = text.substr(slash);
  while (endpoint.prefix.ends_with('/')) endpoint.prefix.pop_back();
  if (endpoint.prefix.find_first_of("?#") != std::string::npos) return bad(whole, "has a query or fragment");
  if (authority.find('@') != std::string_view::npos) return bad(whole, "carries credentials; pass them as a header");
  std::string_view port;
  if (authority.starts_with('[')) {
    const auto close = authority.find(']');
    if (close == std::string_view::npos) return bad(whole, "unbalanced bracket");
    endpoint.host = authority.substr(1, close - 1);
    authority.remove_prefix(close + 1);
    if (!authority.empty() && !authority.starts_with(':')) return bad(whole, "expected a port after the bracket");
    if (!authority.empty()) port = authority.substr(1);
    if (!authority.empty() && port.empty()) return bad(whole, "empty port");
  } else {
    const auto colon = authority.find(':');
    endpoint.host = authority.substr(0, colon);
    if (colon != std::string_view::npos) {
      port = authority.substr(colon + 1);
      if (port.empty()) return bad(whole, "empty port");
    }
  }
  if (endpoint.host.empty()) return bad(whole, "no host");
  if (!port.empty()) {
    const auto number = core::parse_number<std::uint16_t>(port);
    if (!number || *number == 0) return bad(whole, "no port number from 1 to 65535");
    endpoint.port = *number;
  }
  return endpoint;
}

std::string Endpoint::authority() const {
  if (scheme == Scheme::unix_socket) return "localhost";
  std::string text = host.find(':') != std::string::npos ? "[" + host + "]" : host;
  if (port != (scheme == Scheme::https ? 443 : 80)) text += ":" + std::to_string(port);
  return text;
}

std::string Endpoint::to_string() const {
  if (scheme == Scheme::unix_socket) return "unix://" + path;
  return (scheme == Scheme::https ? "https://" : "http://") + authority() + prefix;
}

}  // namespace sandbox::http
