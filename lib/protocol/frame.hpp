#pragma once

#include <cstdint>
#include <span>

#include <sandbox/bytes.hpp>
#include <sandbox/result.hpp>

#include "protocol/messages.hpp"

/// The frames of v2: a fixed header of 20 bytes, little-endian, and a payload. docs/PROTOCOL.md, "Frames".
///
///   0 length u32 | 4 type u8 | 5 flags u8 | 6 channel u8 | 7 zero u8 | 8 stream u32 | 12 offset u64 | 20 payload
namespace sandbox::protocol {

inline constexpr std::uint32_t kVersion = 2;
inline constexpr std::size_t kFrameHeader = 20;
inline constexpr std::uint32_t kMaxHello = 256 << 10;        ///< HELLO payload, bytes
inline constexpr std::uint32_t kMaxGoaway = 64 << 10;        ///< GOAWAY payload
inline constexpr std::uint32_t kMaxOpen = kMaxRequest + 4096;  ///< OPEN payload: params, method, key
inline constexpr std::uint32_t kMaxEnd = kMaxRequest + 16384;  ///< END payload: result and error text
inline constexpr std::uint32_t kMinMaxFrame = 4096;          ///< least max_frame a hello may state
inline constexpr std::uint32_t kMaxMaxFrame = 16 << 20;      ///< more is treated as this much
inline constexpr std::size_t kMaxIdempotencyKey = 64;

enum class FrameType : std::uint8_t {
  hello = 1,    ///< Hello; the first frame each way on every transport
  open = 2,     ///< client; Open
  data = 3,     ///< content of (stream, channel) at `offset`
  credit = 4,   ///< `offset`: how far the peer may send on (stream, channel), absolute
  message = 5,  ///< structured message of the stream's method
  end = 6,      ///< agent; End: the terminal record of the stream
  cancel = 7,   ///< client: please end soon
  ping = 8,     ///< `offset`: nonce
  pong = 9,     ///< `offset`: the nonce
  ack = 10,     ///< `offset`: how many reliable frames arrived since the session began
  resume = 11,  ///< `offset`: the same; second frame each way on a later transport
  goaway = 12,  ///< End; the sender gives the session up
};

/// Flags of DATA.
inline constexpr std::uint8_t kFin = 1;   ///< nothing follows on this channel
inline constexpr std::uint8_t kZstd = 2;  ///< payload is one zstd frame with its content size; offsets count raw bytes

struct FrameHeader {
  std::uint32_t length = 0;  ///< payload bytes
  FrameType type = FrameType::hello;
  std::uint8_t flags = 0;
  std::uint8_t channel = 0;
  std::uint32_t stream = 0;
  std::uint64_t offset = 0;
  bool operator==(const FrameHeader&) const = default;
};

/// Whether frames of `type` are counted, acknowledged and sent again after a resume.
constexpr bool reliable(FrameType type) noexcept {
  return type != FrameType::hello && type != FrameType::ping && type != FrameType::pong && type != FrameType::ack &&
         type != FrameType::resume;
}

/// Writes `header` to `out`, which has kFrameHeader bytes.
void encode(const FrameHeader& header, std::byte* out) noexcept;

/// The header at the start of `in`, which has at least kFrameHeader bytes, with everything checked that can be checked
/// without knowing the session: type, flags, channel, stream, length. `max_frame` bounds DATA payloads.
/// Errors: protocol.
Result<FrameHeader> decode_header(ByteView in, std::uint32_t max_frame);

}  // namespace sandbox::protocol
