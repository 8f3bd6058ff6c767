#include "http/websocket_codec.hpp"

#include <openssl/evp.h>
#include <openssl/sha.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

namespace sandbox::http {
namespace {

constexpr std::byte kFin{0x80}, kReserved{0x70}, kOpcodeMask{0x0f}, kMasked{0x80}, kLengthMask{0x7f};

/// The key as eight bytes in memory order, rotated so that its first byte belongs to payload offset `offset`.
std::uint64_t rotated(MaskKey key, std::uint64_t offset) noexcept {
  std::byte bytes[8];
  for (std::size_t i = 0; i < 8; ++i) bytes[i] = key[(offset + i) & 3];
  return std::bit_cast<std::uint64_t>(bytes);
}

/// Four words a round: compilers make vector code of it at -O2 only when it is spelled out.
void mask_words(std::byte* to, const std::byte* from, std::size_t size, std::uint64_t key) noexcept {
  std::size_t i = 0;
  for (; i + 32 <= size; i += 32) {
    std::uint64_t words[4];
    std::memcpy(words, from + i, 32);
    words[0] ^= key, words[1] ^= key, words[2] ^= key, words[3] ^= key;
    std::memcpy(to + i, words, 32);
  }
  for (; i + 8 <= size; i += 8) {
    std::uint64_t word;
    std::memcpy(&word, from + i, 8);
    word ^= key;
    std::memcpy(to + i, &word, 8);
  }
  const auto bytes = std::bit_cast<std::array<std::byte, 8>>(key);
  for (std::size_t k = 0; i < size; ++i, ++k) to[i] = from[i] ^ bytes[k];
}

}  // namespace

std::size_t encode_frame_header(Opcode opcode, std::uint64_t length, std::optional<MaskKey> mask, std::byte* out) noexcept {
  const std::byte masked = mask ? kMasked : std::byte{0};
  std::size_t size = 2;
  out[0] = kFin | static_cast<std::byte>(opcode);
  const auto big_endian = [&](int bytes) {
    for (int i = bytes - 1; i >= 0; --i) out[size++] = static_cast<std::byte>(length >> (8 * i));
  };
  if (length < 126) {
    out[1] = masked | static_cast<std::byte>(length);
  } else if (length <= 0xffff) {
    out[1] = masked | std::byte{126};
    big_endian(2);
  } else {
    out[1] = masked | std::byte{127};
    big_endian(8);
  }
  if (mask) {
    std::memcpy(out + size, mask->data(), 4);
    size += 4;
  }
  return size;
}

void apply_mask(std::span<std::byte> data, MaskKey key, std::uint64_t offset) noexcept {
  if (key == MaskKey{}) return;
  mask_words(data.data(), data.data(), data.size(), rotated(key, offset));
}

void apply_mask(std::byte* to, ByteView from, MaskKey key, std::uint64_t offset) noexcept {
  mask_words(to, from.data(), from.size(), rotated(key, offset));
}

bool valid_close_code(std::uint16_t code) noexcept {
  if (code >= 3000 && code <= 4999) return true;
  return code >= 1000 && code <= 1014 && code != 1004 && code != close_code::kNoStatus && code != close_code::kAbnormal;
}

bool valid_utf8(std::string_view text) noexcept {
  const auto* at = reinterpret_cast<const unsigned char*>(text.data());
  const auto* const end = at + text.size();
  while (at < end) {
    std::uint64_t word;
    if (end - at >= 8 && (std::memcpy(&word, at, 8), (word & 0x8080808080808080u) == 0)) {
      at += 8;
      continue;
    }
    const unsigned first = *at;
    if (first < 0x80) {
      ++at;
      continue;
    }
    const int more = first >= 0xc2 && first <= 0xdf ? 1 : (first & 0xf0) == 0xe0 ? 2 : first >= 0xf0 && first <= 0xf4 ? 3 : 0;
    if (more == 0 || end - at <= more) return false;
    for (int i = 1; i <= more; ++i) {
      if ((at[i] & 0xc0) != 0x80) return false;
    }
    const unsigned second = at[1];
    if (first == 0xe0 && second < 0xa0) return false;   // overlong
    if (first == 0xed && second > 0x9f) return false;   // surrogate
    if (first == 0xf0 && second < 0x90) return false;   // overlong
    if (first == 0xf4 && second > 0x8f) return false;   // beyond U+10FFFF
    at += more + 1;
  }
  return true;
}

std::size_t encode_close(std::uint16_t code, std::string_view reason, std::span<std::byte, kMaxControlPayload> out) noexcept {
  if (code == close_code::kNoStatus || code == 0) return 0;
  std::size_t size = std::min(reason.size(), kMaxControlPayload - 2);
  while (size < reason.size() && size > 0 && (static_cast<unsigned char>(reason[size]) & 0xc0) == 0x80) --size;
  if (!valid_utf8(reason.substr(0, size))) size = 0;
  out[0] = static_cast<std::byte>(code >> 8);
  out[1] = static_cast<std::byte>(code & 0xff);
  std::ranges::copy(as_bytes(reason.substr(0, size)), out.data() + 2);  // of nothing, too
  return size + 2;
}

std::string accept_key(std::string_view key) {
  const std::string text = std::string(key) + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  unsigned char digest[SHA_DIGEST_LENGTH];
  SHA1(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest);
  unsigned char encoded[32];
  const int size = EVP_EncodeBlock(encoded, digest, sizeof digest);
  return {reinterpret_cast<const char*>(encoded), static_cast<std::size_t>(size)};
}

FrameDecoder::Event FrameDecoder::fail(std::uint16_t code, std::string_view reason) noexcept {
  over_ = true;
  Event event;
  event.type = Event::Type::error;
  event.code = code;
  event.reason = reason;
  return event;
}

/// Collects a header; true once it is whole.
bool FrameDecoder::take_header(std::span<std::byte>& input) noexcept {
  const auto wanted = [this]() -> std::size_t {
    if (header_size_ < 2) return 2;
    const std::byte length = header_[1] & kLengthMask;
    return 2u + (length == std::byte{126} ? 2u : length == std::byte{127} ? 8u : 0u) +
           ((header_[1] & kMasked) != std::byte{0} ? 4u : 0u);
  };
  for (std::size_t want = wanted(); header_size_ < want; want = wanted()) {
    const std::size_t size = std::min(want - header_size_, input.size());
    if (size == 0) return false;
    std::memcpy(header_.data() + header_size_, input.data(), size);
    header_size_ = static_cast<std::uint8_t>(header_size_ + size);
    input = input.subspan(size);
  }
  return true;
}

FrameDecoder::Event FrameDecoder::begin_frame() noexcept {
  const std::size_t size = std::exchange(header_size_, std::uint8_t{0});
  fin_ = (header_[0] & kFin) != std::byte{0};
  masked_ = (header_[1] & kMasked) != std::byte{0};
  if ((header_[0] & kReserved) != std::byte{0}) return fail(close_code::kProtocolError, "reserved bits are set");
  if (masked_ != (role_ == Role::server)) {
    return fail(close_code::kProtocolError, masked_ ? "a masked frame from the server" : "an unmasked frame from the client");
  }
  const auto short_length = static_cast<std::uint64_t>(header_[1] & kLengthMask);
  remaining_ = short_length;
  if (short_length >= 126) {
    const std::size_t bytes = short_length == 126 ? 2 : 8;
    remaining_ = 0;
    for (std::size_t i = 0; i < bytes; ++i) remaining_ = remaining_ << 8 | static_cast<std::uint64_t>(header_[2 + i]);
    if (remaining_ >> 63 != 0) return fail(close_code::kProtocolError, "an impossible frame length");
    if (remaining_ < 126 || (bytes == 8 && remaining_ <= 0xffff)) {
      return fail(close_code::kProtocolError, "a frame length is not minimal");
    }
  }
  if (masked_) std::memcpy(key_.data(), header_.data() + size - 4, 4);
  offset_ = 0;
  in_frame_ = true;
  opcode_ = static_cast<Opcode>(header_[0] & kOpcodeMask);
  switch (opcode_) {
    case Opcode::continuation:
      if (!in_message_) return fail(close_code::kProtocolError, "a continuation of nothing");
      break;
    case Opcode::text:
    case Opcode::binary:
      if (in_message_) return fail(close_code::kProtocolError, "a message inside a message");
      in_message_ = true;
      message_ = 0;
      kind_ = opcode_ == Opcode::text ? MessageKind::text : MessageKind::binary;
      break;
    case Opcode::close:
    case Opcode::ping:
    case Opcode::pong:
      if (!fin_ || remaining_ > kMaxControlPayload) return fail(close_code::kProtocolError, "a fragmented or long control frame");
      return {};
    default: return fail(close_code::kProtocolError, "an unknown opcode");
  }
  // Announced, not received: a message too big is refused before its bytes come.
  if (max_message_ != 0 && remaining_ > max_message_ - message_) return fail(close_code::kTooBig, "the message is too big");
  message_ += max_message_ != 0 ? remaining_ : 0;
  return {};
}

FrameDecoder::Event FrameDecoder::take_data(std::span<std::byte>& input) noexcept {
  const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(remaining_, input.size()));
  Event event;
  event.type = Event::Type::data;
  event.kind = kind_;
  event.payload = input.first(size);
  input = input.subspan(size);
  if (masked_) apply_mask(event.payload, key_, offset_);
  offset_ += size;
  remaining_ -= size;
  if (remaining_ == 0) {
    in_frame_ = false;
    event.message_end = fin_;
    if (fin_) in_message_ = false;
  }
  return event;
}

FrameDecoder::Event FrameDecoder::take_control(std::span<std::byte>& input) noexcept {
  const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(remaining_, input.size()));
  if (size > 0) std::memcpy(control_.data() + offset_, input.data(), size);
  input = input.subspan(size);
  offset_ += size;
  remaining_ -= size;
  if (remaining_ > 0) return {};
  in_frame_ = false;
  return finish_control();
}

FrameDecoder::Event FrameDecoder::finish_control() noexcept {
  const std::span<std::byte> payload(control_.data(), static_cast<std::size_t>(offset_));
  if (masked_) apply_mask(payload, key_, 0);
  Event event;
  event.payload = payload;
  if (opcode_ == Opcode::ping || opcode_ == Opcode::pong) {
    event.type = opcode_ == Opcode::ping ? Event::Type::ping : Event::Type::pong;
    return event;
  }
  over_ = true;
  event.type = Event::Type::close;
  event.code = close_code::kNoStatus;
  if (payload.empty()) return event;
  if (payload.size() == 1) return fail(close_code::kProtocolError, "half a close code");
  event.code = static_cast<std::uint16_t>(static_cast<unsigned>(payload[0]) << 8 | static_cast<unsigned>(payload[1]));
  event.reason = as_text(payload.subspan(2));
  if (!valid_close_code(event.code)) return fail(close_code::kProtocolError, "an invalid close code");
  if (!valid_utf8(event.reason)) return fail(close_code::kInvalidPayload, "a close reason that is not UTF-8");
  return event;
}

FrameDecoder::Event FrameDecoder::next(std::span<std::byte>& input) noexcept {
  while (!over_) {
    if (!in_frame_) {
      if (!take_header(input)) return {};
      if (Event event = begin_frame(); event.type == Event::Type::error) return event;
    }
    const bool control = opcode_ >= Opcode::close;
    if (remaining_ > 0 && input.empty()) return {};
    Event event = control ? take_control(input) : take_data(input);
    // An empty frame in the middle of a message says nothing.
    if (event.type == Event::Type::data && event.payload.empty() && !event.message_end) continue;
    if (event.type != Event::Type::none) return event;
  }
  input = {};
  return {};
}

}  // namespace sandbox::http
