#pragma once

#include <string>

#include <sandbox/process.hpp>

#include "api/operation.hpp"

namespace sandbox::api {

/// How often a call that is safe to repeat is made again after the agent lost its session.
inline constexpr int kRepeats = 3;
/// Names one call, so that making it twice runs it once. Errors: internal.
Result<std::string> random_key();


/// What the agent says of a finished program, as the user sees it. Nothing in it is trusted beyond its type.
/// Errors: protocol, origin guest, when it does not say how the program ended: no exit code is invented.
Result<ExitStatus> to_status(const protocol::ExecOutcome& outcome);

/// Standard input given in advance: sends `text` as credit allows, then end of file.
class StdinFeed {
 public:
  StdinFeed() = default;
  explicit StdinFeed(std::string text) : text_(std::move(text)), active_(true) {}
  /// Under the lock: after the stream opened and whenever channel `in` is writable.
  void pump(session::Session& session, session::StreamId stream) {
    if (!active_) return;
    const auto rest = as_bytes(text_).subspan(sent_);
    sent_ += session.send(stream, session::Channel::in, rest, true);
    if (sent_ == text_.size()) active_ = false;
  }

 private:
  std::string text_;
  std::size_t sent_ = 0;
  bool active_ = false;
};

/// exec: runs a program and keeps what it wrote, up to the limit even if the agent sends more.
class Exec : public Operation<ExecResult> {
 public:
  static Result<Exec> make_exec(const Command& cmd);
  std::chrono::milliseconds patience() const noexcept override { return patience_; }

  void on_data(session::Channel channel, ByteView data, bool fin) override;
  void on_writable(session::Channel channel) override;

 protected:
  void opened() override { stdin_.pump(session(), stream()); }
  Result<ExecResult> make() override;

 private:
  using Operation::Operation;

  std::chrono::milliseconds patience_{0};
  std::uint64_t cap_ = 0;  ///< bytes kept per stream
  StdinFeed stdin_;
  Bytes out_, err_;
  std::uint64_t out_dropped_ = 0, err_dropped_ = 0;
};

}  // namespace sandbox::api
