#include "agent/v1/http_text.hpp"

#include <netinet/in.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <utility>

#include "core/text.hpp"

namespace sandbox::agent::v1 {
namespace {

Error invalid(std::string what) { return Error(ErrorCode::invalid_argument, std::move(what)); }
Error malformed(const char* what) { return Error(ErrorCode::protocol, std::string("malformed HTTP response: ") + what); }

char lower(char c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool same_word(std::string_view a, std::string_view b) noexcept {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) { return lower(x) == lower(y); });
}

std::string_view trimmed(std::string_view text) noexcept {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

/// "host", "host:port", "[v6]:port" into `url`.
Result<void> parse_authority(std::string_view text, Url& url) {
  if (const auto at = text.rfind('@'); at != text.npos) text.remove_prefix(at + 1);   // no credentials are sent
  std::string_view host = text, port;
  if (text.starts_with('[')) {
    const auto close = text.find(']');
    if (close == text.npos) return invalid("invalid URL: missing ']' in host");
    host = text.substr(1, close - 1);
    port = text.substr(close + 1);
    if (!port.empty() && port.front() != ':') return invalid("invalid URL: invalid port");
    if (!port.empty()) port.remove_prefix(1);
  } else if (const auto colon = text.rfind(':'); colon != text.npos) {
    host = text.substr(0, colon);
    port = text.substr(colon + 1);
  }
  if (host.empty() || host.size() > 253) return invalid("invalid URL: no host in request URL");
  for (const char c : host) {
    const bool good = (c >= '0' && c <= '9') || (lower(c) >= 'a' && lower(c) <= 'z') || c == '.' || c == '-' || c == '_' || c == ':';
    if (!good) return invalid("invalid URL: invalid character in host name");
  }
  url.host = host;
  url.port = url.secure ? 443 : 80;
  if (port.empty()) return {};
  const auto number = core::parse_number<std::uint16_t>(port);
  if (!number || *number == 0) return invalid("invalid URL: invalid port");
  url.port = *number;
  return {};
}

bool internal4(std::uint32_t address) noexcept {
  const auto in = [address](std::uint32_t net, int bits) { return address >> (32 - bits) == net >> (32 - bits); };
  return in(0x0a000000, 8) || in(0xac100000, 12) || in(0xc0a80000, 16) || in(0x7f000000, 8) || in(0xa9fe0000, 16) ||
         in(0, 8) || in(0x64400000, 10) || in(0xe0000000, 3);   // also this network, shared space, multicast and reserved
}

}  // namespace

std::string Url::authority() const {
  std::string text = host.find(':') == host.npos ? host : "[" + host + "]";
  if (port != (secure ? 443 : 80)) text += ":" + std::to_string(port);
  return text;
}

Result<Url> parse_url(std::string_view text) {
  if (text.size() > 65536) return invalid("invalid URL: too long");
  for (const char c : text)
    if (static_cast<unsigned char>(c) <= 0x20 || c == 0x7f) return invalid("invalid URL: invalid control character in URL");
  const auto colon = text.find(':');
  const std::string_view scheme = colon == text.npos ? std::string_view() : text.substr(0, colon);
  Url url;
  url.secure = same_word(scheme, "https");
  if (!url.secure && !same_word(scheme, "http"))
    return invalid("unsupported scheme \"" + std::string(scheme) + "\": only http and https are allowed");
  text.remove_prefix(colon + 1);
  if (!text.starts_with("//")) return invalid("invalid URL: no host in request URL");
  text.remove_prefix(2);
  text = text.substr(0, text.find('#'));
  const auto end = text.find_first_of("/?\\");
  SANDBOX_CHECK(parse_authority(text.substr(0, end), url));
  if (end != text.npos) url.target = text.substr(end);
  if (!url.target.starts_with('/')) url.target.insert(0, "/");
  return url;
}

Result<Url> follow_url(const Url& base, std::string_view location) {
  const auto colon = location.find(':');
  const auto first = location.find_first_of("/?#");
  if (colon != location.npos && (first == location.npos || colon < first)) return parse_url(location);
  const std::string scheme = base.secure ? "https:" : "http:";
  if (location.starts_with("//")) return parse_url(scheme + std::string(location));
  const std::string origin = scheme + "//" + base.authority();
  if (location.starts_with('/')) return parse_url(origin + std::string(location));
  const std::string_view path = std::string_view(base.target).substr(0, base.target.find('?'));
  if (location.starts_with('?')) return parse_url(origin + std::string(path) + std::string(location));
  return parse_url(origin + std::string(path.substr(0, path.rfind('/') + 1)) + std::string(location));
}

bool is_internal(const sockaddr* address) noexcept {
  if (address->sa_family == AF_INET) {
    sockaddr_in four;
    std::memcpy(&four, address, sizeof four);
    return internal4(ntohl(four.sin_addr.s_addr));
  }
  if (address->sa_family != AF_INET6) return true;
  sockaddr_in6 six;
  std::memcpy(&six, address, sizeof six);
  const unsigned char* byte = six.sin6_addr.s6_addr;
  const auto tail = [&](std::size_t at) {
    return std::uint32_t{byte[at]} << 24 | std::uint32_t{byte[at + 1]} << 16 | std::uint32_t{byte[at + 2]} << 8 | byte[at + 3];
  };
  const auto zero = [&](std::size_t from, std::size_t to) { return std::all_of(byte + from, byte + to, [](unsigned char b) { return b == 0; }); };
  if (zero(0, 10) && byte[10] == 0xff && byte[11] == 0xff) return internal4(tail(12));   // ::ffff:a.b.c.d
  if (zero(0, 12)) return true;                                                          // ::, ::1, ::a.b.c.d
  if (tail(0) == 0x0064ff9b && zero(4, 12)) return internal4(tail(12));                  // NAT64
  if (byte[0] == 0x20 && byte[1] == 0x02) return internal4(tail(2));                     // 6to4
  return (byte[0] & 0xfe) == 0xfc || (byte[0] == 0xfe && (byte[1] & 0xc0) >= 0x80) || byte[0] == 0xff;
}

bool is_token(std::string_view text) noexcept {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= '0' && c <= '9') || (lower(c) >= 'a' && lower(c) <= 'z') || std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
  });
}

std::string canonical_header(std::string_view name) {
  std::string text(name);
  bool start = true;
  for (char& c : text) {
    c = lower(c);
    if (start && c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
    start = c == '-';
  }
  return text;
}

bool is_framing_header(std::string_view name) noexcept {
  for (const std::string_view ours : {"Connection", "Content-Length", "Transfer-Encoding", "Upgrade", "Expect", "TE", "Accept-Encoding"})
    if (same_word(name, ours)) return true;
  return false;
}

Result<std::string> format_request(std::string_view method, const Url& url, const std::vector<protocol::KeyValue>& headers,
                                   std::string_view body) {
  if (!is_token(method) || method.size() > 32 || same_word(method, "CONNECT")) return invalid("invalid method");
  std::string host = url.authority(), rest;
  bool agent = false;
  for (const auto& [name, value] : headers) {
    const bool clean = std::none_of(value.begin(), value.end(), [](char c) { return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f; });
    if (!is_token(name) || !clean) return invalid("invalid header field");
    if (same_word(name, "Host")) {
      host = value;
      continue;
    }
    agent = agent || same_word(name, "User-Agent");
    rest += name + ": " + value + "\r\n";
  }
  std::string text = std::string(method) + " " + url.target + " HTTP/1.1\r\nHost: " + host + "\r\n" + rest;
  if (!agent) text += "User-Agent: sandbox\r\n";
  if (!body.empty() || same_word(method, "POST") || same_word(method, "PUT") || same_word(method, "PATCH"))
    text += "Content-Length: " + std::to_string(body.size()) + "\r\n";
  text += "Accept-Encoding: identity\r\nConnection: close\r\n\r\n";
  if (text.size() > (128 << 10)) return invalid("request header is too large");
  text += body;
  return text;
}

// ---- ResponseReader -------------------------------------------------------------------------------------------------

std::string_view ResponseReader::header(std::string_view canonical) const noexcept {
  const auto found = headers_.find(canonical);
  return found == headers_.end() ? std::string_view() : std::string_view(found->second);
}

void ResponseReader::keep(std::string_view bytes) {
  body_ += bytes.substr(0, kMaxBody - body_.size());
  if (body_.size() == kMaxBody) state_ = State::done;
}

Result<bool> ResponseReader::feed(std::string_view bytes) {
  pending_ += bytes;
  State before;
  std::size_t from;
  do {
    before = state_;
    from = at_;
    SANDBOX_CHECK(step());
  } while (state_ != State::done && (state_ != before || at_ != from));
  pending_.erase(0, at_);
  at_ = 0;
  return state_ == State::done;
}

Result<void> ResponseReader::finish() {
  if (state_ == State::done || state_ == State::until_close) return {};
  return malformed("unexpected EOF");
}

bool ResponseReader::take_line(std::string_view& line) {
  const auto end = pending_.find('\n', at_);
  if (end == std::string::npos) return false;
  line = std::string_view(pending_).substr(at_, end - at_);
  if (line.ends_with('\r')) line.remove_suffix(1);
  at_ = end + 1;
  return true;
}

Result<void> ResponseReader::step() {
  std::string_view line;
  switch (state_) {
    case State::head: {
      const auto end = pending_.find("\r\n\r\n", at_);
      if (end == std::string::npos) {
        if (pending_.size() - at_ > kMaxHead) return malformed("its head is too long");
        return {};
      }
      if (end - at_ > kMaxHead) return malformed("its head is too long");
      const std::size_t begin = std::exchange(at_, end + 4);
      return parse_head(std::string_view(pending_).substr(begin, end - begin));
    }
    case State::sized:
    case State::chunk_data: {
      const std::size_t part = static_cast<std::size_t>(std::min<std::uint64_t>(left_, pending_.size() - at_));
      const State next = state_ == State::sized ? State::done : State::chunk_end;
      left_ -= part;
      at_ += part;
      keep(std::string_view(pending_).substr(at_ - part, part));
      if (left_ == 0 && state_ != State::done) state_ = next;
      return {};
    }
    case State::until_close: {
      const std::size_t from = std::exchange(at_, pending_.size());
      keep(std::string_view(pending_).substr(from));
      return {};
    }
    case State::chunk_size: {
      if (!take_line(line)) return pending_.size() - at_ > 4096 ? Result<void>(malformed("a chunk has no size")) : Result<void>();
      line = trimmed(line.substr(0, line.find(';')));
      const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), left_, 16);
      if (line.empty() || error != std::errc() || end != line.data() + line.size()) return malformed("a chunk has no size");
      state_ = left_ > 0 ? State::chunk_data : State::trailers;
      return {};
    }
    case State::chunk_end:
      if (!take_line(line)) return pending_.size() - at_ > 2 ? Result<void>(malformed("a chunk does not end")) : Result<void>();
      if (!line.empty()) return malformed("a chunk does not end");
      state_ = State::chunk_size;
      return {};
    case State::trailers:
      while (take_line(line)) {
        trailer_bytes_ += line.size() + 1;
        if (line.empty()) {
          state_ = State::done;
          return {};
        }
        if (trailer_bytes_ > kMaxHead) break;
      }
      if (trailer_bytes_ + pending_.size() - at_ > kMaxHead) return malformed("its trailers are too long");
      return {};
    case State::done: return {};
  }
  return {};
}

Result<void> ResponseReader::parse_head(std::string_view head) {
  const auto next_line = [&head] {
    const auto end = head.find("\r\n");
    const auto line = head.substr(0, end);
    head.remove_prefix(end == head.npos ? head.size() : end + 2);
    return line;
  };
  const std::string_view first = next_line();
  if (first.size() < 12 || !first.starts_with("HTTP/1.") || first[8] != ' ') return malformed("no status line");
  const auto status = core::parse_number<int>(first.substr(9, 3));
  if (!status || *status < 100 || *status > 999 || (first.size() > 12 && first[12] != ' ')) return malformed("no status");
  status_ = *status;
  headers_.clear();
  bool chunked = false, sized = false;
  std::uint64_t length = 0;
  while (!head.empty()) {
    const std::string_view line = next_line();
    const auto colon = line.find(':');
    if (colon == line.npos || !is_token(line.substr(0, colon))) return malformed("a header line is none");
    const std::string name = canonical_header(line.substr(0, colon));
    const std::string_view value = trimmed(line.substr(colon + 1));
    // RFC 9110 5.5: dangerous to whoever passes it on. CR and LF can only be lone ones here.
    if (value.find_first_of(std::string_view("\r\n\0", 3)) != value.npos) return malformed("a header has a control character");
    headers_.emplace(name, value);
    if (name == "Transfer-Encoding") {
      if (!same_word(value, "chunked")) return malformed("unknown transfer encoding");
      chunked = true;
    }
    if (name == "Content-Length") {
      const auto number = core::parse_number<std::uint64_t>(value);
      if (!number || (sized && *number != length)) return malformed("bad Content-Length");
      sized = true;
      length = *number;
    }
  }
  if (status_ == 101) return malformed("unasked for upgrade");
  if (status_ < 200) return {};   // an interim one: the real one follows
  if (no_body_ || status_ == 204 || status_ == 304 || (sized && !chunked && length == 0)) state_ = State::done;
  else if (chunked) state_ = State::chunk_size;
  else if (sized) state_ = State::sized, left_ = length;
  else state_ = State::until_close;
  return {};
}

}  // namespace sandbox::agent::v1
