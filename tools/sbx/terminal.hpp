#pragma once

#include <termios.h>

#include <sandbox/command.hpp>
#include <sandbox/result.hpp>

namespace sbx {

/// Size of the terminal behind `fd`; 24 × 80 when it does not say.
sandbox::TerminalSize terminal_size(int fd);

/// The terminal behind `fd` in raw mode while this lives: keys go to the program inside, which has a terminal of its own.
class RawMode {
 public:
  /// Errors: failed_precondition when `fd` is not a terminal.
  static sandbox::Result<RawMode> enter(int fd);
  RawMode(RawMode&& other) noexcept;
  RawMode& operator=(RawMode&&) = delete;
  ~RawMode();
  /// Puts the old settings back; idempotent. Async-signal-safe.
  void restore() noexcept;

 private:
  RawMode(int fd, const termios& before) : fd_(fd), before_(before) {}
  int fd_;
  termios before_;
};

}  // namespace sbx
