#pragma once

#include <memory>
#include <optional>
#include <string_view>

#include "http/message.hpp"

namespace sandbox::http {

/// The most that a head may have that somebody answers us, in bytes.
inline constexpr std::size_t kMaxResponseHead = 64 << 10;

/// An HTTP/1.x message decoded without I/O, head first, then its body in pieces. One message per parser; Beast inside.
/// What two parsers might read differently (two lengths, length and coding, codings other than chunked) is an error.
class Parser {
 public:
  enum class Kind : unsigned char { request, response };
  Parser(Kind kind, std::size_t max_head);
  ~Parser();
  Parser(Parser&&) noexcept;
  Parser& operator=(Parser&&) noexcept;

  struct Step {
    enum class What : unsigned char { need_more, head, body, end, error } what = What::need_more;
    std::size_t used = 0;      ///< bytes to take from the front of the input, whatever `what` is
    std::string_view body{};   ///< a piece of the input
    unsigned status = 0;       ///< error in a request: what to answer
    std::string_view problem{};  ///< error: a static text
  };
  /// Offer the same bytes again, with more behind them, until they are used. Not to be called after end or error.
  Step next(std::string_view input);
  /// The connection ended: `end` if that ends the message, else error.
  Step end_of_input();

  /// The head, once there.
  RequestHead& request() noexcept;
  unsigned status() const noexcept;
  const Headers& headers() const noexcept;
  Headers& headers() noexcept;
  unsigned minor() const noexcept;

  bool started() const noexcept;   ///< any byte of the message was seen
  bool has_head() const noexcept;
  bool done() const noexcept;
  bool chunked() const noexcept;
  bool until_close() const noexcept;  ///< a response whose body ends with the connection
  bool keep_alive() const noexcept;
  std::optional<std::uint64_t> content_length() const noexcept;
  std::optional<std::uint64_t> remaining() const noexcept;  ///< of a body with a length
  /// The response answers HEAD: no body follows whatever the head says. Before its head.
  void expect_no_body();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sandbox::http
