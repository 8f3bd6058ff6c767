// Sealed sessions end to end: a sandbox made with SandboxSpec::sealed() works like any other, and nothing of what is said
// to the real agent, or of what it answers, can be read from the stream between.
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include <sandbox/sandbox.hpp>

#include "support/live_runtime.hpp"
#include "unit/api/agent_box.hpp"

namespace sandbox::testing {
namespace {

using namespace std::chrono_literals;

class Sealed : public LiveTest {
 protected:
  Sandbox box_ = make(SandboxSpec().sealed());
};

TEST_F(Sealed, RunsProgramsBothWays) {
  const auto result = box_.process().exec(Command("/bin/sh").args("-c", "cat; echo to-err >&2; exit 3").stdin_text("through\n"));
  ASSERT_TRUE(result) << result.error().to_string();
  EXPECT_EQ(result->stdout_text(), "through\n");
  EXPECT_EQ(result->stderr_text(), "to-err\n");
  EXPECT_EQ(result->exit_code, 3);
  EXPECT_OK(box_.ping());
}

TEST_F(Sealed, MovesFilesOfManyRecords) {
  // Larger than a record, a window and a socket buffer, and not a multiple of any.
  std::string content((5 << 20) + 17, '\0');
  std::uint32_t state = 7;
  for (char& c : content) c = static_cast<char>((state = state * 1664525u + 1013904223u) >> 24);
  EXPECT_OK(box_.fs().write("/root/big", content));
  const auto back = box_.fs().read("/root/big");
  ASSERT_TRUE(back) << back.error().to_string();
  EXPECT_TRUE(as_text(*back) == content);
  EXPECT_CODE(ErrorCode::not_found, box_.fs().read("/root/none"));
}

TEST_F(Sealed, HasTerminals) {
  auto running = box_.process().spawn(Command("/bin/sh").args("-c", "stty size; read line; echo got-$line").pty({31, 91}).open_stdin());
  ASSERT_TRUE(running) << running.error().to_string();
  EXPECT_OK(running->write("hello\n"));
  std::string seen;
  for (;;) {
    const auto chunk = running->read_for(10s);
    ASSERT_TRUE(chunk) << chunk.error().to_string();
    if (!*chunk) break;
    seen += as_text((*chunk)->bytes);
  }
  EXPECT_NE(seen.find("31 91"), seen.npos) << seen;
  EXPECT_NE(seen.find("got-hello"), seen.npos) << seen;
  EXPECT_OK(running->wait());
}

// ---- what the stream carries --------------------------------------------------------------------------------------------

struct Recording {
  std::string sent, received;
};

class RecordingStream final : public link::ByteStream {
 public:
  RecordingStream(std::unique_ptr<ByteStream> inner, std::shared_ptr<Recording> into)
      : inner_(std::move(inner)), into_(std::move(into)) {}
  Result<std::size_t> read_some(std::span<std::byte> buffer) override {
    auto got = inner_->read_some(buffer);
    if (got) into_->received += as_text(ByteView(buffer.data(), *got));
    return got;
  }
  Result<std::size_t> write_some(ByteView bytes) override {
    auto put = inner_->write_some(bytes);
    if (put) into_->sent += as_text(bytes.first(*put));
    return put;
  }
  int fd() const noexcept override { return inner_->fd(); }
  void shut_down() noexcept override { inner_->shut_down(); }
  void close() noexcept override { inner_->close(); }

 private:
  std::unique_ptr<ByteStream> inner_;
  std::shared_ptr<Recording> into_;
};

constexpr std::string_view kSaid[] = {"marker-argument", "marker-variable", "marker-stdin", "marker-path", "marker-content"};
constexpr std::string_view kHeard[] = {"marker-output", "marker-complaint", "marker-missing", "marker-content", "sandbox-agent/"};

/// One conversation with the real agent that says all of kSaid and hears all of kHeard.
Recording converse(bool sealed) {
  auto recording = std::make_shared<Recording>();
  aio::Reactor reactor;
  std::optional<crypto::SecureChannel> channel;
  if (sealed) channel.emplace(crypto::SecureChannel::client({}).value());
  {
    auto agent = std::make_shared<api::test::AgentBox>(
        reactor, [&](std::unique_ptr<link::ByteStream> stream) { return std::make_unique<RecordingStream>(std::move(stream), recording); },
        std::move(channel));
    EXPECT_EQ(agent->failure(), "");
    EXPECT_OK(agent->link()->handshake(core::SteadyClock::now() + 20s));
    Sandbox box(agent);
    // Output that appears in no parameter: it is put together inside.
    const auto result = box.process().exec(Command("/bin/sh")
                                     .args("-c", "cat; m=marker; echo $m-output; echo $m-complaint >&2", "sh", "marker-argument")
                                     .env("V", "marker-variable")
                                     .stdin_text("marker-stdin\n"));
    EXPECT_OK(result);
    if (result) {
      EXPECT_EQ(result->stdout_text(), "marker-stdin\nmarker-output\n");
    }
    const std::string path = agent->directory() + "/marker-path";
    EXPECT_OK(box.fs().write(path, "marker-content"));
    EXPECT_OK(box.fs().read(path));
    EXPECT_CODE(ErrorCode::not_found, box.fs().read(agent->directory() + "/marker-missing"));
  }
  return std::move(*recording);
}

TEST(SealedStream, CarriesNothingThatCanBeRead) {
  const Recording recording = converse(true);
  ASSERT_GT(recording.sent.size(), 500u);
  ASSERT_GT(recording.received.size(), 500u);
  for (const auto marker : kSaid) EXPECT_EQ(recording.sent.find(marker), std::string::npos) << marker;
  for (const auto marker : kHeard) EXPECT_EQ(recording.received.find(marker), std::string::npos) << marker;
  for (const std::string* side : {&recording.sent, &recording.received}) {
    EXPECT_EQ(side->find("marker"), std::string::npos);
    EXPECT_EQ(side->find("/bin/sh"), std::string::npos);
  }
}

// The control run: unsealed, the same recording shows every one of them.
TEST(SealedStream, OfAPlainSessionCanBeRead) {
  const Recording recording = converse(false);
  for (const auto marker : kSaid) EXPECT_NE(recording.sent.find(marker), std::string::npos) << marker;
  for (const auto marker : kHeard) EXPECT_NE(recording.received.find(marker), std::string::npos) << marker;
}

}  // namespace
}  // namespace sandbox::testing
