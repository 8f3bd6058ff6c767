#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <sandbox/bytes.hpp>

#include "http/websocket.hpp"

/// Frames of RFC 6455 without I/O, for both ends: no extensions, so no reserved bits.
namespace sandbox::http {

enum class Opcode : std::uint8_t { continuation = 0, text = 1, binary = 2, close = 8, ping = 9, pong = 10 };

inline constexpr std::size_t kMaxFrameHeader = 14;
inline constexpr std::size_t kMaxControlPayload = 125;

/// Four mask bytes as they stand on the wire.
using MaskKey = std::array<std::byte, 4>;

/// Writes the header of an unfragmented frame to `out` (kMaxFrameHeader bytes of room) and returns its length.
std::size_t encode_frame_header(Opcode opcode, std::uint64_t length, std::optional<MaskKey> mask, std::byte* out) noexcept;

/// XORs `data`, which stands `offset` bytes into a frame's payload, with the key; in place or from `from`, which may not
/// overlap otherwise. Its own inverse.
void apply_mask(std::span<std::byte> data, MaskKey key, std::uint64_t offset) noexcept;
void apply_mask(std::byte* to, ByteView from, MaskKey key, std::uint64_t offset) noexcept;

/// Payload of a close frame: code and reason, cut to 123 bytes at a character. Returns the length written to `out`.
std::size_t encode_close(std::uint16_t code, std::string_view reason, std::span<std::byte, kMaxControlPayload> out) noexcept;
/// Whether a peer may send that close code (§7.4).
bool valid_close_code(std::uint16_t code) noexcept;
/// UTF-8 without surrogates and overlong forms.
bool valid_utf8(std::string_view text) noexcept;

/// Base64 of SHA-1 of the key and the GUID of §1.3: Sec-WebSocket-Accept.
std::string accept_key(std::string_view key);

/// Decodes what a peer sends, unmasking in place; payloads are handed out as they come and never assembled.
class FrameDecoder {
 public:
  enum class Role : std::uint8_t { server, client };  ///< which end we are: a server takes only masked frames, a client none
  /// `max_message`: payload bytes of one message over all its frames; 0: no limit.
  explicit FrameDecoder(Role role, std::uint64_t max_message = 0) noexcept : max_message_(max_message), role_(role) {}

  struct Event {
    enum class Type : std::uint8_t { none, data, ping, pong, close, error } type = Type::none;
    MessageKind kind = MessageKind::binary;  ///< data
    bool message_end = false;                ///< data: the last piece of its message
    std::uint16_t code = 0;                  ///< close: the peer's, kNoStatus if it gave none; error: what to close with
    std::span<std::byte> payload{};          ///< data: a piece of the input; ping, pong: valid until the next call
    std::string_view reason{};               ///< close: the peer's text; error: ours. Valid until the next call
  };
  /// Takes from the front of `input` and says what it found; none: all of the input is taken and more is needed. A piece
  /// of data may be empty only where its message ends. After close or error nothing more is decoded.
  Event next(std::span<std::byte>& input) noexcept;

  /// Payload bytes of the current data frame still to come: so many may be read without a header among them.
  std::uint64_t data_remaining() const noexcept { return in_frame_ && opcode_ < Opcode::close ? remaining_ : 0; }
  /// Whether the last byte taken was the last of a message or control frame.
  bool between_messages() const noexcept { return !in_message_ && header_size_ == 0 && remaining_ == 0; }

 private:
  Event fail(std::uint16_t code, std::string_view reason) noexcept;
  bool take_header(std::span<std::byte>& input) noexcept;
  Event begin_frame() noexcept;
  Event take_data(std::span<std::byte>& input) noexcept;
  Event take_control(std::span<std::byte>& input) noexcept;
  Event finish_control() noexcept;

  std::uint64_t max_message_;
  std::uint64_t remaining_ = 0;  ///< payload bytes of this frame still to come
  std::uint64_t offset_ = 0;     ///< payload bytes of this frame already seen
  std::uint64_t message_ = 0;    ///< payload bytes of this message announced so far
  MaskKey key_{};
  Role role_;
  Opcode opcode_ = Opcode::continuation;
  MessageKind kind_ = MessageKind::binary;
  bool fin_ = false, masked_ = false, in_frame_ = false, in_message_ = false, over_ = false;
  std::uint8_t header_size_ = 0;
  std::array<std::byte, kMaxFrameHeader> header_{};
  std::array<std::byte, kMaxControlPayload> control_{};
};

}  // namespace sandbox::http
