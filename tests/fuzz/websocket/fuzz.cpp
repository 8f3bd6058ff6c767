// WebSocket frames from a hostile peer. Byte 0: bit 0 we are the client, bit 1 a message limit. Byte 1: fragment size. What is
// decoded must not depend on how the bytes were cut, and every limit must hold.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "http/websocket_codec.hpp"

namespace {

using namespace sandbox;
using namespace sandbox::http;

constexpr std::uint64_t kLimit = 300;

[[noreturn]] void wrong() { std::abort(); }

std::string decode(std::string input, FrameDecoder::Role role, std::uint64_t limit, std::size_t fragment) {
  FrameDecoder decoder(role, limit);
  std::string said, message;
  bool over = false;
  for (std::size_t at = 0; at < input.size(); at += fragment) {
    auto part = std::as_writable_bytes(std::span(input)).subspan(at, std::min(fragment, input.size() - at));
    for (;;) {
      const auto* begin = part.data();
      const std::size_t before = part.size();
      const auto event = decoder.next(part);
      using Type = FrameDecoder::Event::Type;
      if (part.size() > before) wrong();
      if (event.type == Type::none) {
        if (!part.empty()) wrong();
        break;
      }
      if (over) wrong();
      switch (event.type) {
        case Type::none: break;
        case Type::data:
          if (event.payload.empty() && !event.message_end) wrong();
          if (!event.payload.empty() &&
              (event.payload.data() < begin || event.payload.data() + event.payload.size() > begin + before)) {
            wrong();
          }
          message += as_text(event.payload);
          if (limit && message.size() > limit) wrong();
          if (event.message_end) {
            said += "[" + std::to_string(static_cast<int>(event.kind)) + message + "]";
            valid_utf8(message);
            message.clear();
          }
          break;
        case Type::ping:
        case Type::pong:
          if (event.payload.size() > kMaxControlPayload) wrong();
          said += (event.type == Type::ping ? "<ping" : "<pong") + std::string(as_text(event.payload)) + ">";
          break;
        case Type::close:
          if (event.code != close_code::kNoStatus && !valid_close_code(event.code)) wrong();
          if (!valid_utf8(event.reason)) wrong();
          said += "<close" + std::to_string(event.code) + std::string(event.reason) + ">";
          over = true;
          break;
        case Type::error:
          if (event.reason.empty() || !valid_close_code(event.code)) wrong();
          said += "<error" + std::to_string(event.code) + ">";
          over = true;
          break;
      }
    }
  }
  return said + (over ? "" : "(" + message + ")");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2 || size > 8192) return 0;
  const auto role = data[0] & 1 ? FrameDecoder::Role::client : FrameDecoder::Role::server;
  const std::uint64_t limit = data[0] & 2 ? kLimit : 0;
  const std::string input(reinterpret_cast<const char*>(data + 2), size - 2);
  if (decode(input, role, limit, input.size() + 1) != decode(input, role, limit, data[1] % 16u + 1)) wrong();

  // What we encode is what the other end decodes.
  std::byte header[kMaxFrameHeader];
  std::array<std::byte, kMaxControlPayload> close;
  const std::size_t length = encode_close(1000, input, close);
  const bool masked = role == FrameDecoder::Role::server;
  const MaskKey key{std::byte{data[0]}, std::byte{data[1]}, std::byte{3}, std::byte{4}};
  const std::size_t head = encode_frame_header(Opcode::close, length, masked ? std::optional(key) : std::nullopt, header);
  std::string frame(as_text({header, head}));
  if (masked) apply_mask(std::span(close).first(length), key, 0);
  frame += as_text({close.data(), length});
  if (!decode(frame, role, 0, 3).starts_with("<close1000")) wrong();
  return 0;
}
