#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <sandbox/bytes.hpp>

/// HTTP/1.1 messages as plain values, for both ends.
namespace sandbox::http {

/// Header fields in the order they came; names compare without case; a name may appear several times.
class Headers {
 public:
  using Field = std::pair<std::string, std::string>;
  Headers() = default;
  Headers(std::initializer_list<Field> fields) : fields_(fields) {}

  /// The first field of that name, or null.
  const std::string* find(std::string_view name) const noexcept;
  /// Its value, or `fallback`.
  std::string_view get(std::string_view name, std::string_view fallback = {}) const noexcept;
  /// Whether a field of that name has `token` in its comma-separated list (Connection: keep-alive, Upgrade).
  bool has_token(std::string_view name, std::string_view token) const noexcept;
  std::size_t count(std::string_view name) const noexcept;
  /// Replaces every field of that name.
  void set(std::string_view name, std::string_view value);
  void add(std::string name, std::string value) { fields_.emplace_back(std::move(name), std::move(value)); }
  void remove(std::string_view name);

  auto begin() const noexcept { return fields_.begin(); }
  auto end() const noexcept { return fields_.end(); }
  std::size_t size() const noexcept { return fields_.size(); }
  bool empty() const noexcept { return fields_.empty(); }

 private:
  std::vector<Field> fields_;
};

/// What a server sees before the body.
struct RequestHead {
  std::string method;    ///< as sent, "GET"
  std::string target;    ///< as sent, "/a%20b?x=1"
  std::string path;      ///< percent-decoded, without the query
  std::string raw_path;  ///< as sent, without the query
  std::string query;     ///< as sent, without the question mark
  Headers headers;
  unsigned minor = 1;    ///< HTTP/1.<minor>: 0 or 1

  /// Decoded values of that query key, in order.
  std::vector<std::string> query_values(std::string_view key) const;
  /// The first of them.
  std::optional<std::string> query_value(std::string_view key) const;
};

/// What a client sends. Host, Content-Length and Connection are added by whoever sends it.
struct Request {
  std::string method = "GET";
  std::string target = "/";  ///< path and query, already percent-encoded
  Headers headers;
  std::string body;
};

struct Response {
  unsigned status = 200;
  Headers headers;
  std::string body;
};

/// A response with that body and Content-Type.
Response text_response(unsigned status, std::string body);
Response json_response(unsigned status, std::string body);

/// "Not Found"; "Unknown" for numbers nobody assigned.
std::string_view reason_phrase(unsigned status) noexcept;

/// %41 -> A. Nothing on a broken escape or an encoded NUL. `plus_is_space` is for query strings.
std::optional<std::string> percent_decode(std::string_view text, bool plus_is_space = false);
/// Everything but unreserved characters (RFC 3986) as %XX; `keep` are further characters left alone, e.g. "/".
std::string percent_encode(std::string_view text, std::string_view keep = {});

/// Compares ASCII text without case.
bool same_token(std::string_view a, std::string_view b) noexcept;
/// Whether `name` is an RFC 9110 token and `value` has no control bytes: what may be written into a head.
bool valid_field(std::string_view name, std::string_view value) noexcept;

}  // namespace sandbox::http
