#include "protocol/messages.hpp"

#include <gtest/gtest.h>

namespace sandbox::protocol {
namespace {

TEST(Wire, MessagesSurviveARoundTrip) {
  ExecRequest request;
  request.argv = {"ls", "", "-l"};
  request.env = {{"A", "1"}, {"B", ""}};
  request.timeout_ms = 1500;
  request.pty = WindowSize{50, 132};
  const auto decoded = decode<ExecRequest>(as_bytes(encode(request)));
  ASSERT_TRUE(decoded);
  EXPECT_EQ(decoded->argv, request.argv);
  EXPECT_EQ(decoded->env, request.env);
  EXPECT_EQ(decoded->timeout_ms, 1500u);
  EXPECT_EQ(decoded->pty, request.pty);
}

TEST(Wire, SignedNumbersAndOptionalZeroSurvive) {
  FsEntry entry;
  entry.modified_ns = -5;
  FsReadRequest read;
  read.length = 0;
  EXPECT_EQ(decode<FsEntry>(as_bytes(encode(entry)))->modified_ns, -5);
  EXPECT_EQ(decode<FsReadRequest>(as_bytes(encode(read)))->length, 0u);
}

TEST(Wire, UnknownFieldsAreSkipped) {
  std::string bytes = encode(EnvRequest{"PATH"});
  Writer(bytes).bytes_field(99, "later version");
  Writer(bytes).varint_field(98, 1u << 30);
  const auto decoded = decode<EnvRequest>(as_bytes(bytes));
  ASSERT_TRUE(decoded);
  EXPECT_EQ(decoded->name, "PATH");
}

TEST(Wire, EveryTruncationIsRefusedOrShorter) {
  ExecRequest request;
  request.argv = {"program", "argument"};
  request.shell = "text";
  const std::string bytes = encode(request);
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const auto decoded = decode<ExecRequest>(as_bytes(std::string_view(bytes).substr(0, size)));
    if (decoded) {
      EXPECT_LE(decoded->argv.size(), 2u) << size;
    } else {
      EXPECT_EQ(decoded.error().code(), ErrorCode::protocol);
    }
  }
}

TEST(Wire, ValuesOutOfRangeAreRefused) {
  std::string bytes;
  Writer(bytes).varint_field(1, 70000);  // rows is 16 bits
  const auto decoded = decode<WindowSize>(as_bytes(bytes));
  ASSERT_FALSE(decoded);
  EXPECT_EQ(decoded.error().code(), ErrorCode::protocol);
}

TEST(Wire, NestingHasABound) {
  // A message nested in itself cannot be expressed by our structs; a length that points outside can.
  std::string bytes("\x12\x7f", 2);
  const auto decoded = decode<ExecRequest>(as_bytes(bytes));
  ASSERT_FALSE(decoded);
  EXPECT_EQ(decoded.error().code(), ErrorCode::protocol);
}

}  // namespace
}  // namespace sandbox::protocol
