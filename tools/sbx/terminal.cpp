#include "terminal.hpp"

#include <cerrno>
#include <sys/ioctl.h>
#include <unistd.h>
#include <utility>

namespace sbx {

sandbox::TerminalSize terminal_size(int fd) {
  sandbox::TerminalSize size;
  winsize window{};
  if (::ioctl(fd, TIOCGWINSZ, &window) == 0 && window.ws_row != 0 && window.ws_col != 0) {
    size.rows = window.ws_row;
    size.columns = window.ws_col;
  }
  return size;
}

sandbox::Result<RawMode> RawMode::enter(int fd) {
  termios before{};
  if (::isatty(fd) == 0 || ::tcgetattr(fd, &before) != 0) {
    return sandbox::Error(sandbox::ErrorCode::failed_precondition, "-t needs a terminal on standard input; leave it out here");
  }
  termios raw = before;
  ::cfmakeraw(&raw);
  if (::tcsetattr(fd, TCSADRAIN, &raw) != 0) return sandbox::Error::from_errno(errno, "sbx.terminal", "raw mode");
  return RawMode(fd, before);
}

RawMode::RawMode(RawMode&& other) noexcept : fd_(std::exchange(other.fd_, -1)), before_(other.before_) {}

RawMode::~RawMode() { restore(); }

void RawMode::restore() noexcept {
  if (fd_ < 0) return;
  // DRAIN, not FLUSH: what the user typed ahead belongs to the shell that comes next.
  ::tcsetattr(fd_, TCSADRAIN, &before_);
  fd_ = -1;
}

}  // namespace sbx
