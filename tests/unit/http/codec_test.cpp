#include "http/websocket_codec.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace sandbox::http::test {
namespace {

std::string bytes(std::initializer_list<int> values) {
  std::string out;
  for (const int value : values) out += static_cast<char>(value);
  return out;
}

/// What a decoder says about `input`, offered `step` bytes at a time: "b:payload|" per message, control frames, errors.
std::string decode(std::string input, FrameDecoder::Role role, std::size_t step, std::uint64_t max = 0) {
  FrameDecoder decoder(role, max);
  std::string out, message;
  for (std::size_t at = 0; at < input.size(); at += step) {
    std::span<std::byte> part = std::as_writable_bytes(std::span(input)).subspan(at, std::min(step, input.size() - at));
    for (;;) {
      const auto event = decoder.next(part);
      using Type = FrameDecoder::Event::Type;
      if (event.type == Type::none) break;
      if (event.type == Type::data) {
        message += as_text(event.payload);
        if (event.message_end) out += (event.kind == MessageKind::text ? "t:" : "b:") + std::exchange(message, {}) + "|";
      } else if (event.type == Type::ping || event.type == Type::pong) {
        out += (event.type == Type::ping ? "ping:" : "pong:") + std::string(as_text(event.payload)) + "|";
      } else {
        out += (event.type == Type::close ? "close:" : "error:") + std::to_string(event.code) + "|";
      }
    }
  }
  return out;
}

TEST(WebSocketCodec, DecodesTheExamplesOfTheRfcInAnyFragmentation) {
  // RFC 6455 §5.7.
  const std::string unmasked = bytes({0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f});
  const std::string masked = bytes({0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58});
  const std::string fragmented = bytes({0x01, 0x03, 0x48, 0x65, 0x6c, 0x80, 0x02, 0x6c, 0x6f});
  const std::string ping = bytes({0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f});
  const std::string pong = bytes({0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58});
  const std::string binary = bytes({0x82, 0x7e, 0x01, 0x00}) + std::string(256, 'x');
  const std::string large = bytes({0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0}) + std::string(65536, 'y');
  for (const std::size_t step : {1, 2, 3, 7, 100000}) {
    using Role = FrameDecoder::Role;
    EXPECT_EQ(decode(unmasked + fragmented + ping, Role::client, step), "t:Hello|t:Hello|ping:Hello|");
    EXPECT_EQ(decode(masked + pong, Role::server, step), "t:Hello|pong:Hello|");
    EXPECT_EQ(decode(binary + large, Role::client, step), "b:" + std::string(256, 'x') + "|b:" + std::string(65536, 'y') + "|");
    EXPECT_EQ(decode(unmasked, Role::server, step), "error:1002|");
    EXPECT_EQ(decode(masked, Role::client, step), "error:1002|");
    EXPECT_EQ(decode(binary, Role::client, step, 255), "error:1009|");
  }
}

TEST(WebSocketCodec, EncodesTheThreeLengths) {
  std::byte header[kMaxFrameHeader];
  const MaskKey key{std::byte{9}, std::byte{8}, std::byte{7}, std::byte{6}};
  EXPECT_EQ(std::string(as_text({header, encode_frame_header(Opcode::text, 125, std::nullopt, header)})), bytes({0x81, 125}));
  EXPECT_EQ(std::string(as_text({header, encode_frame_header(Opcode::binary, 126, key, header)})), bytes({0x82, 0xfe, 0, 126, 9, 8, 7, 6}));
  EXPECT_EQ(std::string(as_text({header, encode_frame_header(Opcode::binary, 65536, std::nullopt, header)})),
            bytes({0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0}));
}

TEST(WebSocketCodec, MasksLikeTheByteByByteDefinition) {
  const MaskKey key{std::byte{0x37}, std::byte{0xfa}, std::byte{0x21}, std::byte{0x3d}};
  for (std::size_t size = 0; size < 100; ++size) {
    for (std::uint64_t offset = 0; offset < 9; ++offset) {
      std::vector<std::byte> data(size), expected(size), copy(size);
      for (std::size_t i = 0; i < size; ++i) {
        data[i] = static_cast<std::byte>(i * 31);
        expected[i] = data[i] ^ key[(offset + i) % 4];
      }
      apply_mask(copy.data(), data, key, offset);
      ASSERT_EQ(copy, expected);
      apply_mask(data, key, offset);
      ASSERT_EQ(data, expected) << size << " at " << offset;
    }
  }
}

TEST(WebSocketCodec, KnowsUtf8) {
  for (const char* good : {"", "ascii only, longer than a word", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xf4\x8f\xbf\xbf",
                           "12345678\xc2\x80"}) {
    EXPECT_TRUE(valid_utf8(good)) << good;
  }
  for (const char* bad : {"\x80", "\xc0\xaf", "\xc1\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf0\x80\x80\x80", "\xf4\x90\x80\x80",
                          "\xf5\x80\x80\x80", "\xc3", "1234567\xe2\x82", "\xff"}) {
    EXPECT_FALSE(valid_utf8(bad)) << bad;
  }
}

TEST(WebSocketCodec, CutsAReasonAtACharacter) {
  std::array<std::byte, kMaxControlPayload> out;
  std::string reason(122, 'a');
  reason += "\xe2\x82\xac";
  EXPECT_EQ(encode_close(1000, reason, out), 124u);
  EXPECT_EQ(encode_close(1000, "\xff", out), 2u);
  EXPECT_EQ(encode_close(1000, {}, out), 2u);  // copies nothing from nowhere
  EXPECT_EQ(encode_close(close_code::kNoStatus, "x", out), 0u);
}

TEST(WebSocketCodec, SaysNothingAfterAClose) {
  const std::string close = bytes({0x88, 0x02, 0x03, 0xe8});
  EXPECT_EQ(decode(close + close + "garbage", FrameDecoder::Role::client, 1), "close:1000|");
  for (const int code : {0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000}) {
    EXPECT_FALSE(valid_close_code(static_cast<std::uint16_t>(code))) << code;
  }
  for (const int code : {1000, 1001, 1011, 1014, 3000, 4999}) {
    EXPECT_TRUE(valid_close_code(static_cast<std::uint16_t>(code))) << code;
  }
}

}  // namespace
}  // namespace sandbox::http::test
