#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include <sandbox/bytes.hpp>
#include <sandbox/result.hpp>

/// How messages of a v1 session lie in the byte stream to the agent: one byte of kind, four of length (big-endian), the
/// payload. Sans-I/O.
namespace sandbox::server {

enum class V1Kind : std::uint8_t { text = 1, binary = 2 };

inline constexpr std::size_t kV1Header = 5;
inline constexpr std::size_t kV1MaxFrame = 10 << 20;    ///< payload of a frame from the agent
inline constexpr std::size_t kV1MaxMessage = 2 << 20;   ///< message of a client

std::array<std::byte, kV1Header> v1_header(V1Kind kind, std::size_t length);

/// Puts frames together that come in pieces of any size. Holds at most one.
class V1FrameReader {
 public:
  using OnFrame = std::function<void(V1Kind, std::string&&)>;
  /// Calls `frame` for each one that is complete. Kinds of neither text nor binary are skipped.
  /// Errors: protocol (longer than kV1MaxFrame); the reader is of no use then.
  Result<void> feed(ByteView bytes, const OnFrame& frame);

 private:
  std::array<std::byte, kV1Header> header_{};
  std::size_t header_size_ = 0;
  std::size_t length_ = 0;  ///< of the payload, once the header is complete
  std::string payload_;
};

}  // namespace sandbox::server
