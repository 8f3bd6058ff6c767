#pragma once

#include <deque>
#include <memory>
#include <optional>

#include <sandbox/process.hpp>

#include "api/exec.hpp"
#include "api/ongoing.hpp"

namespace sandbox {

/// A program that runs, seen from the host. All members: under the link's lock.
struct RunningProcess::State final : api::Ongoing {
  using Ongoing::Ongoing;
  static Result<std::shared_ptr<State>> start(const std::shared_ptr<driver::Box>& box, const Command& cmd);
  static Result<RunningProcess> spawn(const std::shared_ptr<driver::Box>& box, const Command& cmd);
  std::shared_ptr<State> self() { return std::static_pointer_cast<State>(shared_from_this()); }

  void opened() override { stdin_.pump(session(), stream()); }
  void on_message(ByteView message) override;
  void on_data(session::Channel channel, ByteView data, bool fin) override;
  void on_writable(session::Channel channel) override;
  void ended() override;

  /// Polls for await and await_later: a value when there is something to tell.
  std::optional<Result<void>> poll_started();
  std::optional<Result<std::optional<OutputChunk>>> poll_output();
  std::optional<Result<ExitStatus>> poll_status();
  std::optional<Result<void>> poll_write(ByteView bytes, std::size_t& sent);

  Result<std::optional<OutputChunk>> read(core::TimePoint deadline);
  Result<ExitStatus> wait(core::TimePoint deadline);
  Result<void> control(const protocol::ExecControl& control);
  /// Gives credit for and forgets what nobody read.
  void drop_output();

  std::uint32_t pid = 0;
  bool started = false;
  bool has_pty = false;
  bool stdin_open = false;       ///< write() is allowed
  int waiting = 0;               ///< callers in wait(): output is dropped meanwhile
  api::StdinFeed stdin_;
  std::deque<OutputChunk> output;
  std::uint64_t dropped_out = 0, dropped_err = 0;
  std::optional<ExitStatus> status;
};

}  // namespace sandbox
