#pragma once

#include <chrono>
#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <sandbox/bytes.hpp>

namespace sandbox {

/// Size of a terminal in character cells.
struct TerminalSize {
  std::uint16_t rows = 24;
  std::uint16_t columns = 80;
};

/// What to run in a sandbox. A Command made from one string is a shell line, run by the sandbox's `/bin/sh -c`; calling
/// args() makes that string the program and no shell is involved:
///
///     Command("ls *.txt | wc -l")                 // shell
///     Command("ls").args("-l", dir)               // argv, nothing is interpreted
///
/// Copyable value. Limits: 4096 arguments and variables, 1 MiB together.
class Command {
 public:
  Command(std::string line) : line_(std::move(line)) {}
  Command(const char* line) : line_(line) {}
  Command(std::string_view line) : line_(line) {}

  template <class... Args>
    requires(std::convertible_to<Args, std::string_view> && ...)
  Command&& args(Args&&... args) && {
    is_shell_ = false;
    (arguments_.emplace_back(std::string_view(args)), ...);
    return std::move(*this);
  }
  template <class... Args>
    requires(std::convertible_to<Args, std::string_view> && ...)
  Command& args(Args&&... args) & {
    is_shell_ = false;
    (arguments_.emplace_back(std::string_view(args)), ...);
    return *this;
  }
  /// Program and arguments from a list; `argv` must not be empty.
  static Command from_argv(std::vector<std::string> argv) {
    Command command(argv.empty() ? std::string() : std::move(argv.front()));
    command.is_shell_ = false;
    if (!argv.empty()) command.arguments_.assign(std::make_move_iterator(argv.begin() + 1), std::make_move_iterator(argv.end()));
    return command;
  }

  /// Adds or replaces one variable on top of the sandbox's environment.
  Command& env(std::string name, std::string value) & { return env_.emplace_back(std::move(name), std::move(value)), *this; }
  Command&& env(std::string name, std::string value) && { return std::move(env(std::move(name), std::move(value))); }
  /// Starts from an empty environment (only env() entries) instead of the sandbox's.
  Command& clear_env() & { return clear_env_ = true, *this; }
  Command&& clear_env() && { return std::move(clear_env()); }
  /// Absolute directory to run in. Default: the spec's workdir.
  Command& workdir(std::string path) & { return workdir_ = std::move(path), *this; }
  Command&& workdir(std::string path) && { return std::move(workdir(std::move(path))); }
  /// After this time the whole process group is killed and the result says `timed_out`. Default: none.
  Command& timeout(std::chrono::milliseconds time) & { return timeout_ = time, *this; }
  Command&& timeout(std::chrono::milliseconds time) && { return std::move(timeout(time)); }
  /// Bytes kept per output stream; what goes beyond is dropped and counted. Default for exec: 1 MiB; for streams:
  /// no limit (the reader sets the pace).
  Command& max_output(ByteCount bytes) & { return max_output_ = bytes, *this; }
  Command&& max_output(ByteCount bytes) && { return std::move(max_output(bytes)); }
  /// Bytes given to the program's standard input, then end of file. Default: /dev/null.
  Command& stdin_text(std::string text) & { return stdin_ = std::move(text), *this; }
  Command&& stdin_text(std::string text) && { return std::move(stdin_text(std::move(text))); }
  /// Keeps standard input open for RunningProcess::write (spawn only).
  Command& open_stdin() & { return open_stdin_ = true, *this; }
  Command&& open_stdin() && { return std::move(open_stdin()); }
  /// Runs on a terminal of this size (spawn only): one merged output stream, job control, resize.
  Command& pty(TerminalSize size) & { return pty_ = size, *this; }
  Command&& pty(TerminalSize size) && { return std::move(pty(size)); }
  /// Sends standard error to the standard output stream.
  Command& merge_stderr() & { return merge_stderr_ = true, *this; }
  Command&& merge_stderr() && { return std::move(merge_stderr()); }
  /// A second run with the same key (≤ 64 bytes) gets the first one's outcome instead of running again.
  Command& idempotency_key(std::string key) & { return key_ = std::move(key), *this; }
  Command&& idempotency_key(std::string key) && { return std::move(idempotency_key(std::move(key))); }

  bool is_shell() const noexcept { return is_shell_; }
  const std::string& line() const noexcept { return line_; }
  const std::vector<std::string>& arguments() const noexcept { return arguments_; }
  const std::vector<std::pair<std::string, std::string>>& env() const noexcept { return env_; }
  bool clears_env() const noexcept { return clear_env_; }
  const std::string& workdir() const noexcept { return workdir_; }
  std::chrono::milliseconds timeout() const noexcept { return timeout_; }
  std::optional<ByteCount> max_output() const noexcept { return max_output_; }
  const std::optional<std::string>& stdin_text() const noexcept { return stdin_; }
  bool stdin_open() const noexcept { return open_stdin_; }
  const std::optional<TerminalSize>& pty() const noexcept { return pty_; }
  bool merges_stderr() const noexcept { return merge_stderr_; }
  const std::string& idempotency_key() const noexcept { return key_; }

 private:
  std::string line_;
  bool is_shell_ = true;
  std::vector<std::string> arguments_;
  std::vector<std::pair<std::string, std::string>> env_;
  bool clear_env_ = false;
  std::string workdir_;
  std::chrono::milliseconds timeout_{0};
  std::optional<ByteCount> max_output_;
  std::optional<std::string> stdin_;
  bool open_stdin_ = false;
  std::optional<TerminalSize> pty_;
  bool merge_stderr_ = false;
  std::string key_;
};

}  // namespace sandbox
