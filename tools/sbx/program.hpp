#pragma once

#include <atomic>
#include <mutex>
#include <string>

#include <sandbox/process.hpp>
#include <sandbox/result.hpp>

#include "terminal.hpp"

/// A program inside whose streams, terminal and signals are ours: what run, exec and attach share.
namespace sbx {

/// What a signal does, by phase. on_signal runs on the Signals thread; everything is thread-safe.
class Control {
 public:
  explicit Control(bool terminal) : terminal_(terminal) {}

  /// The first goes to the program as if it ran here, the second (or a hang-up) kills it; where there is no program, the
  /// second ends this process. SIGWINCH changes the program's window.
  void on_signal(int signal);
  void set_process(sandbox::RunningProcess* process);
  void set_raw(RawMode* raw);
  const std::atomic<bool>& interrupted() const { return interrupted_; }
  int signal() const { return signal_; }

 private:
  std::mutex mutex_;
  const bool terminal_;
  sandbox::RunningProcess* process_ = nullptr;
  RawMode* raw_ = nullptr;
  int count_ = 0;
  std::atomic<int> signal_{0};
  std::atomic<bool> interrupted_{false};
};

struct FollowOptions {
  bool terminal = false;       ///< our terminal is in raw mode meanwhile; standard input must be one
  bool forward_stdin = false;  ///< the command has open_stdin
  bool collect = false;        ///< keep the output instead of passing it on
};

/// How it ended. `status` is what wait() said; an error when the agent or the daemon was lost.
struct Followed {
  sandbox::Result<sandbox::ExitStatus> status;
  bool broken_pipe = false;  ///< nobody reads our output any more; the program was killed
  std::string out, err;      ///< with `collect`
};

/// Joins the streams of `process` with ours until it ended and everything it wrote is out. The terminal is back in order
/// when this returns, whatever happened.
Followed follow(sandbox::RunningProcess& process, Control& control, const FollowOptions& options);

/// Whether standard input is meant for the program: a pipe, a file or a socket is; a terminal only when asked for, so that a
/// loop in a shell does not lose its input to the first command.
bool has_piped_stdin();

}  // namespace sbx
