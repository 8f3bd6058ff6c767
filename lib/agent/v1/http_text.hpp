#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <sandbox/bytes.hpp>
#include <sandbox/result.hpp>

#include "protocol/messages.hpp"

/// HTTP/1.1 as far as net.fetch needs it (RFC 9110, 9112). Sans-I/O: the server of a response is as hostile as anybody.
namespace sandbox::agent::v1 {

struct Url {
  bool secure = false;
  std::string host;           ///< without brackets
  std::uint16_t port = 0;
  std::string target;         ///< path and query; begins with '/'

  /// As in a Host header and in an absolute URL.
  std::string authority() const;
  std::string text() const { return std::string(secure ? "https://" : "http://") + authority() + target; }
};

/// Errors: invalid_argument with the text the dialect prescribes (unsupported scheme "x": …) or what is wrong.
Result<Url> parse_url(std::string_view text);
/// `location` as seen from `base`: absolute, or without scheme, or without host.
Result<Url> follow_url(const Url& base, std::string_view location);

/// Whether an address is of this host, of its links or of a private network, or none that a server can have.
bool is_internal(const sockaddr* address) noexcept;

/// Whether `text` may be a method or the name of a header.
bool is_token(std::string_view text) noexcept;
/// "content-type" as "Content-Type".
std::string canonical_header(std::string_view name);

/// Whether a header decides where messages end or what becomes of the connection: those are ours.
bool is_framing_header(std::string_view name) noexcept;

/// Head and body of a request, ready to send; the connection closes after it. `headers` has no framing headers.
/// Errors: invalid_argument (names and values that are none).
Result<std::string> format_request(std::string_view method, const Url& url, const std::vector<protocol::KeyValue>& headers,
                                   std::string_view body);

/// Reads one response.
class ResponseReader {
 public:
  static constexpr std::size_t kMaxHead = 64 << 10;
  static constexpr std::size_t kMaxBody = 10 << 20;   ///< more is cut

  /// `head`: the answer to HEAD, which has no body.
  explicit ResponseReader(bool head) : no_body_(head) {}

  /// True: the response is complete, or its body was cut. Errors: protocol.
  Result<bool> feed(std::string_view bytes);
  /// The connection ended. Errors: protocol, unless the response was complete or ends so.
  Result<void> finish();

  int status() const noexcept { return status_; }
  /// Canonical names, first values.
  const std::map<std::string, std::string, std::less<>>& headers() const noexcept { return headers_; }
  const std::string& body() const noexcept { return body_; }
  std::string_view header(std::string_view canonical) const noexcept;

 private:
  enum class State : std::uint8_t { head, sized, until_close, chunk_size, chunk_data, chunk_end, trailers, done };
  Result<void> parse_head(std::string_view head);
  Result<void> step();
  bool take_line(std::string_view& line);
  void keep(std::string_view bytes);

  bool no_body_;
  State state_ = State::head;
  std::string pending_;        ///< what is not understood yet
  std::size_t at_ = 0;
  std::uint64_t left_ = 0;     ///< of the body, or of the chunk
  std::size_t trailer_bytes_ = 0;
  int status_ = 0;
  std::map<std::string, std::string, std::less<>> headers_;
  std::string body_;
};

}  // namespace sandbox::agent::v1
