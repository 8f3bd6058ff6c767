#include "vectors.hpp"

#include <functional>

#include "protocol/frame.hpp"
#include "protocol/zstd.hpp"

namespace sandbox::protocol {
namespace {

using test::hex;

std::string frame(FrameHeader header, std::string_view payload = {}) {
  header.length = static_cast<std::uint32_t>(payload.size());
  std::string out(kFrameHeader, '\0');
  encode(header, reinterpret_cast<std::byte*>(out.data()));
  return out.append(payload);
}

/// Checks the vector `name` against what we encode, and that decoding and encoding it again gives the same bytes.
class Vectors : public ::testing::Test {
 protected:
  void check_frame(const std::string& name, FrameHeader header, std::string_view payload = {}) {
    const std::string bytes = take(name);
    EXPECT_EQ(hex(bytes), hex(frame(header, payload))) << name;
    if (bytes.size() < kFrameHeader) return;
    const auto decoded = decode_header(as_bytes(bytes), kMaxMaxFrame);
    ASSERT_TRUE(decoded) << name;
    EXPECT_EQ(hex(frame(*decoded, std::string_view(bytes).substr(kFrameHeader))), hex(bytes)) << name;
  }
  template <Message T>
  void check_message(const std::string& name, const T& message) {
    const std::string bytes = take(name);
    EXPECT_EQ(hex(bytes), hex(encode(message))) << name;
    const auto decoded = decode<T>(as_bytes(bytes));
    ASSERT_TRUE(decoded) << name;
    EXPECT_EQ(hex(encode(*decoded)), hex(bytes)) << name;
  }
  std::string take(const std::string& name) {
    const auto it = vectors_.find(name);
    if (it == vectors_.end()) {
      ADD_FAILURE() << "docs/PROTOCOL.md has no vector " << name;
      return {};
    }
    taken_.push_back(name);
    return it->second;
  }
  void expect_all_taken(std::string_view prefix) {
    for (const auto& [name, bytes] : vectors_) {
      if (name.rfind(prefix, 0) == 0) {
        EXPECT_TRUE(std::count(taken_.begin(), taken_.end(), name)) << "nobody checks " << name;
      }
    }
  }
  std::map<std::string, std::string> vectors_ = test::protocol_vectors();
  std::vector<std::string> taken_;
};

TEST_F(Vectors, Frames) {
  Hello hello;
  hello.software = "example/1.0";
  hello.session_id = "0123456789abcdef";
  hello.window = 1 << 20;
  hello.max_frame = 1 << 20;
  hello.resumable = true;
  hello.capabilities = {"zstd"};
  check_frame("frame.hello", {.type = FrameType::hello}, encode(hello));
  ExecRequest request;
  request.shell = "echo hi";
  request.timeout_ms = 1500;
  check_frame("frame.open", {.type = FrameType::open, .stream = 1},
              encode(Open{.method = Method::exec, .params = encode(request), .idempotency_key = "k1"}));
  check_frame("frame.message", {.type = FrameType::message, .stream = 1}, encode(ExecStarted{.pid = 5}));
  check_frame("frame.data", {.type = FrameType::data, .flags = kFin, .channel = 1, .stream = 1, .offset = 0}, "hi\n");
  check_frame("frame.credit", {.type = FrameType::credit, .channel = 1, .stream = 1, .offset = (1 << 20) + 3});
  ExecOutcome outcome;
  outcome.cause = ExitCause::exited;
  outcome.out_total = 3;
  outcome.wall_ns = 1'000'000;
  check_frame("frame.end", {.type = FrameType::end, .stream = 1}, encode(End{.result = encode(outcome)}));
  check_frame("frame.end.error", {.type = FrameType::end, .stream = 2},
              encode(End{.code = 2, .message = "/x: No such file or directory (ENOENT)", .operation = "fs.read",
                         .sys_errno = 2}));
  check_frame("frame.cancel", {.type = FrameType::cancel, .stream = 1});
  check_frame("frame.ping", {.type = FrameType::ping, .offset = 0x0102030405060708});
  check_frame("frame.pong", {.type = FrameType::pong, .offset = 0x0102030405060708});
  check_frame("frame.ack", {.type = FrameType::ack, .offset = 42});
  check_frame("frame.resume", {.type = FrameType::resume, .offset = 42});
  check_frame("frame.goaway", {.type = FrameType::goaway}, encode(End{.code = 12, .message = "data has a gap or overlaps"}));

  // Compressors differ; everybody must read this one.
  const std::string compressed = take("frame.data.zstd");
  const auto header = decode_header(as_bytes(compressed), kMaxMaxFrame).value();
  EXPECT_EQ(header.flags, kZstd);
  const ByteView payload = as_bytes(compressed).subspan(kFrameHeader);
  ASSERT_EQ(payload.size(), header.length);
  std::string raw(Decompressor::raw_size(payload, 1 << 20).value(), '\0');
  Decompressor decompressor;
  ASSERT_TRUE(decompressor.decompress(payload, std::as_writable_bytes(std::span(raw))));
  EXPECT_EQ(raw, std::string(1000, 'a'));
  expect_all_taken("frame.");
}

TEST_F(Vectors, RefusedFrames) {
  for (const auto& [name, bytes] : vectors_) {
    if (name.rfind("bad.", 0) != 0) continue;
    ASSERT_EQ(bytes.size(), kFrameHeader) << name;
    const auto header = decode_header(as_bytes(bytes), 1 << 20);
    ASSERT_FALSE(header) << name;
    EXPECT_EQ(header.error().code(), ErrorCode::protocol) << name;
    taken_.push_back(name);
  }
  EXPECT_GE(taken_.size(), 5u);
}

TEST_F(Vectors, Messages) {
  ExecRequest request;
  request.argv = {"/bin/ls", "-l", ""};
  request.env = {{"A", "1"}};
  request.stdin_open = true;
  request.pty = WindowSize{50, 132};
  check_message("message.exec_request", request);
  check_message("message.exec_control", ExecControl{.signal = 15, .resize = WindowSize{0, 80}});
  check_message("message.fs_path_request", FsPathRequest{.path = "/a", .follow = false});
  check_message("message.fs_read_request", FsReadRequest{.path = "/a", .offset = 300, .length = 0});
  FsEntry entry;
  entry.path = "n\n\xff";
  entry.type = FileType::regular;
  entry.size = 5;
  entry.mode = 0644;
  entry.modified_ns = -1;
  check_message("message.fs_entries", FsEntries{{entry}});
  expect_all_taken("message.");
}

}  // namespace
}  // namespace sandbox::protocol
