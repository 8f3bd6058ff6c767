#include "ws_harness.hpp"

namespace sandbox::http::test {

std::string frame(unsigned opcode, std::string_view payload, bool fin, bool masked, unsigned reserved) {
  std::byte header[kMaxFrameHeader];
  const MaskKey key{std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}};
  const auto mask = masked ? std::optional(key) : std::nullopt;
  const std::size_t size = encode_frame_header(static_cast<Opcode>(opcode), payload.size(), mask, header);
  if (!fin) header[0] &= std::byte{0x7f};
  header[0] |= static_cast<std::byte>(reserved << 4);
  std::string out(as_text({header, size}));
  std::string body(payload);
  if (masked) apply_mask(std::as_writable_bytes(std::span(body)), key, 0);
  return out + body;
}

void shake(Raw& raw, const std::string& target) {
  raw.send("GET " + target + " HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
           "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
           "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n");
  raw.read_until("\r\n\r\n");
  ASSERT_TRUE(raw.got.starts_with("HTTP/1.1 101 ")) << raw.got;
  // RFC 6455 §1.3, its example.
  EXPECT_NE(raw.got.find("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), std::string::npos) << raw.got;
  EXPECT_EQ(raw.got.find("Extensions"), std::string::npos) << raw.got;
  raw.got.erase(0, raw.got.find("\r\n\r\n") + 4);
}

namespace {
/// Size of the first whole frame and of its header, or 0.
std::pair<std::size_t, std::size_t> whole(const std::string& bytes) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  if (bytes.size() < 2) return {};
  std::size_t header = 2, length = byte(1) & 127u;
  if (length >= 126) {
    const std::size_t more = length == 126 ? 2 : 8;
    if (bytes.size() < 2 + more) return {};
    length = 0;
    for (std::size_t i = 0; i < more; ++i) length = length << 8 | byte(2 + i);
    header += more;
  }
  if (bytes.size() < header + length) return {};
  return {header + length, header};
}
}  // namespace

std::optional<ServerFrame> next_frame(Raw& raw, core::Duration time) {
  raw.read_until([](const std::string& so_far) { return whole(so_far).first > 0; }, time);
  const auto [size, header] = whole(raw.got);
  if (size == 0) return std::nullopt;
  EXPECT_EQ(static_cast<unsigned char>(raw.got[0]) & 0xf0, 0x80) << "fragmented, or reserved bits";
  EXPECT_EQ(static_cast<unsigned char>(raw.got[1]) & 0x80, 0) << "a server does not mask";
  ServerFrame found{static_cast<unsigned char>(raw.got[0]) & 0x0fu, raw.got.substr(header, size - header)};
  raw.got.erase(0, size);
  return found;
}

std::string close_text(const std::optional<ServerFrame>& frame) {
  if (!frame) return "nothing";
  if (frame->opcode != 8) return "opcode " + std::to_string(frame->opcode);
  if (frame->payload.size() < 2) return "no code";
  const unsigned code = static_cast<unsigned char>(frame->payload[0]) << 8 | static_cast<unsigned char>(frame->payload[1]);
  return std::to_string(code) + (frame->payload.size() > 2 ? " " + frame->payload.substr(2) : "");
}

}  // namespace sandbox::http::test
