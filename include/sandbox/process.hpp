#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <sandbox/bytes.hpp>
#include <sandbox/command.hpp>
#include <sandbox/fwd.hpp>
#include <sandbox/result.hpp>

namespace sandbox {

/// How a program ended: data, not an error.
enum class ExitCause : std::uint8_t {
  exited = 1,         ///< by itself, with `exit_code`
  signalled = 2,      ///< by `signal`, sent from inside the sandbox
  timed_out = 3,      ///< ran past Command::timeout; its group was killed
  out_of_memory = 4,  ///< the kernel killed it at the sandbox's memory limit
  limit_hit = 5,      ///< CPU time, file size or forbidden system call; `signal` says which
  cancelled = 6,      ///< killed because its caller asked
};
/// "exited", "timed_out", …
std::string_view name(ExitCause cause) noexcept;

/// What is known after a program ended.
struct ExitStatus {
  ExitCause cause = ExitCause::exited;
  int exit_code = 0;                     ///< valid for `exited`
  int signal = 0;                        ///< the signal that ended it, for every other cause
  bool core_dumped = false;
  std::uint32_t oom_kills = 0;           ///< OOM kills in the sandbox while it ran, of any process
  std::uint64_t stdout_bytes = 0;        ///< written by the program
  std::uint64_t stderr_bytes = 0;
  std::uint64_t stdout_dropped = 0;      ///< of these, dropped beyond Command::max_output
  std::uint64_t stderr_dropped = 0;
  std::chrono::nanoseconds wall_time{0};
  std::chrono::nanoseconds user_time{0};
  std::chrono::nanoseconds system_time{0};
  ByteCount max_rss;

  bool ok() const noexcept { return cause == ExitCause::exited && exit_code == 0; }
  /// What a shell would say: exit_code, or 128 + signal; 124 for timed_out.
  int shell_code() const noexcept;
};

/// Status and collected output of a finished program.
struct ExecResult : ExitStatus {
  Bytes stdout_bytes_kept;
  Bytes stderr_bytes_kept;
  std::string_view stdout_text() const noexcept { return as_text(stdout_bytes_kept); }
  std::string_view stderr_text() const noexcept { return as_text(stderr_bytes_kept); }
};

/// One piece of output, as it arrived.
struct OutputChunk {
  enum class Stream : std::uint8_t { out, err };
  Stream stream = Stream::out;
  Bytes bytes;
  std::string_view text() const noexcept { return as_text(bytes); }
};

/// A program that runs in a sandbox. Move-only; destroying it before wait() kills the program's process group.
/// Thread-safe: one thread may read while another writes. Output nobody reads waits in the sandbox (256 KiB – 1 MiB),
/// then the program blocks, as on any pipe.
class RunningProcess {
 public:
  RunningProcess(RunningProcess&&) noexcept;
  RunningProcess& operator=(RunningProcess&&) noexcept;
  ~RunningProcess();

  /// Process id inside the sandbox.
  std::uint32_t pid() const noexcept;
  /// The next output, or nothing when both streams have ended. Blocks. Errors: unavailable (agent lost).
  Result<std::optional<OutputChunk>> read();
  /// Like read(), up to `timeout`: deadline_exceeded when nothing came.
  Result<std::optional<OutputChunk>> read_for(std::chrono::milliseconds timeout);
  /// Writes all of `bytes` to standard input; blocks while the program does not read.
  /// Errors: failed_precondition (no open_stdin(), or closed), unavailable.
  Result<void> write(ByteView bytes);
  Result<void> write(std::string_view text) { return write(as_bytes(text)); }
  /// End of file on standard input. Idempotent.
  Result<void> close_stdin();
  /// Sends `signal` to the program's process group. Delivered in order with other calls; no error if it ended already.
  Result<void> signal(int signal);
  /// Terminal programs only: failed_precondition otherwise.
  Result<void> resize(TerminalSize size);
  /// Kills the process group (SIGKILL); wait() then says `cancelled`.
  Result<void> kill();
  /// Blocks until the program ended and its output is drained or dropped. Unread output is dropped. Repeatable.
  Result<ExitStatus> wait();
  Result<ExitStatus> wait_for(std::chrono::milliseconds timeout);
  /// What destroying the handle does, while others may still use it: calls under way and later ones fail with cancelled.
  /// Idempotent; from any thread.
  void close() noexcept;

  template <class Token> auto async_read(Token&& token);   ///< void(Result<std::optional<OutputChunk>>)
  template <class Token> auto async_wait(Token&& token);   ///< void(Result<ExitStatus>)
  template <class Token> auto async_write(Bytes bytes, Token&& token);  ///< void(Result<void>)

  struct State;  // lib/api
  explicit RunningProcess(std::shared_ptr<State> state) noexcept;

 private:
  std::shared_ptr<State> state_;
};

/// Programs of one sandbox. A light view: copy freely; keeps the sandbox's connection alive.
class Process {
 public:
  /// Runs `cmd` and collects its output.
  /// Returns when the process and its stdio are closed; output beyond `cmd.max_output()` (default 1 MiB per stream) is
  /// dropped and counted. A program that overruns `cmd.timeout()` is killed with its group and reported as
  /// `ExitCause::timed_out` with the output so far: data, not an error.
  /// Errors: not_found (program or workdir), failed_precondition (paused, closed), unavailable (agent lost).
  /// Thread-safe. Source: docs/PROTOCOL.md, exec.
  Result<ExecResult> exec(Command cmd);
  /// Starts `cmd`; returns as soon as it runs, for streaming, stdin, signals and terminals. Errors as exec().
  Result<RunningProcess> spawn(Command cmd);

  /// Cancel: before start nothing ran; after start the group gets SIGKILL.
  template <class Token> auto async_exec(Command cmd, Token&& token);   ///< void(Result<ExecResult>)
  template <class Token> auto async_spawn(Command cmd, Token&& token);  ///< void(Result<RunningProcess>)

  explicit Process(std::shared_ptr<driver::Box> box) noexcept : box_(std::move(box)) {}

 private:
  std::shared_ptr<driver::Box> box_;
};

}  // namespace sandbox
