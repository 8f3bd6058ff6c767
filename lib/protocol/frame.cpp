#include "protocol/frame.hpp"

namespace sandbox::protocol {
namespace {

template <class Number>
void put(std::byte* out, Number value) noexcept {
  for (std::size_t i = 0; i < sizeof(Number); ++i) out[i] = static_cast<std::byte>(value >> (8 * i));
}

template <class Number>
Number get(const std::byte* in) noexcept {
  Number value = 0;
  for (std::size_t i = 0; i < sizeof(Number); ++i) value |= static_cast<Number>(static_cast<Number>(in[i]) << (8 * i));
  return value;
}

/// What each type may carry; index is the type.
struct Rule {
  bool stream;               // names a stream (otherwise the field is 0)
  bool channel;              // names a channel 0..2 (otherwise 0)
  bool offset;               // uses offset (otherwise 0)
  std::uint8_t flags;        // allowed flags
  std::uint32_t max_length;  // payload bytes; DATA is bounded by max_frame instead
};
constexpr Rule kRules[] = {
    {},
    {false, false, false, 0, kMaxHello},
    {true, false, false, 0, kMaxOpen},
    {true, true, true, kFin | kZstd, ~0u},
    {true, true, true, 0, 0},
    {true, false, false, 0, kMaxRequest},
    {true, false, false, 0, kMaxEnd},
    {true, false, false, 0, 0},
    {false, false, true, 0, 0},
    {false, false, true, 0, 0},
    {false, false, true, 0, 0},
    {false, false, true, 0, 0},
    {false, false, false, 0, kMaxGoaway},
};

}  // namespace

void encode(const FrameHeader& header, std::byte* out) noexcept {
  put(out, header.length);
  out[4] = static_cast<std::byte>(header.type);
  out[5] = static_cast<std::byte>(header.flags);
  out[6] = static_cast<std::byte>(header.channel);
  out[7] = std::byte{0};
  put(out + 8, header.stream);
  put(out + 12, header.offset);
}

Result<FrameHeader> decode_header(ByteView in, std::uint32_t max_frame) {
  const auto type = static_cast<std::uint8_t>(in[4]);
  if (type == 0 || type >= std::size(kRules)) return Error(ErrorCode::protocol, "unknown frame type");
  FrameHeader header;
  header.length = get<std::uint32_t>(in.data());
  header.type = static_cast<FrameType>(type);
  header.flags = static_cast<std::uint8_t>(in[5]);
  header.channel = static_cast<std::uint8_t>(in[6]);
  header.stream = get<std::uint32_t>(in.data() + 8);
  header.offset = get<std::uint64_t>(in.data() + 12);
  const Rule& rule = kRules[type];
  if (in[7] != std::byte{0} || (header.flags & ~rule.flags) != 0) {
    return Error(ErrorCode::protocol, "unknown flags in a frame header");
  }
  if ((header.stream != 0) != rule.stream) return Error(ErrorCode::protocol, "frame with a wrong stream number");
  if (header.channel > (rule.channel ? 2 : 0)) return Error(ErrorCode::protocol, "frame with a wrong channel");
  if (!rule.offset && header.offset != 0) return Error(ErrorCode::protocol, "frame with an unexpected offset");
  const std::uint32_t limit = header.type == FrameType::data ? max_frame : rule.max_length;
  if (header.length > limit) return Error(ErrorCode::protocol, "frame is too long");
  return header;
}

}  // namespace sandbox::protocol
