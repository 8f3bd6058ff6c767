#include "os/pty.hpp"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

// The ioctls are spelled out where a libc's headers lack them; values from asm-generic/ioctls.h.
#ifndef TIOCSPTLCK
#define TIOCSPTLCK 0x40045431
#endif
#ifndef TIOCGPTPEER
#define TIOCGPTPEER 0x5441
#endif

namespace sandbox::os {

Result<Pty> open_pty(std::uint16_t rows, std::uint16_t columns) {
  Pty pty;
  // devpts' own ptmx first: /dev/ptmx may be a host device that belongs to another devpts instance.
  pty.master.reset(::open("/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK));
  if (!pty.master) pty.master.reset(::open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK));
  if (!pty.master) {
    const int error = errno;
    // devpts is full (its max= option, or kernel.pty.max).
    if (error == ENOSPC) return Error(ErrorCode::resource_exhausted, "no free terminal").with_operation("pty.open").with_errno(error);
    return Error::from_errno(error, "pty.open", "/dev/ptmx");
  }
  int unlock = 0;
  if (::ioctl(pty.master.get(), TIOCSPTLCK, &unlock) != 0) return Error::from_errno(errno, "pty.unlock");
  // By handle: the slave's path could name something else in this mount namespace.
  pty.slave.reset(::ioctl(pty.master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!pty.slave) return Error::from_errno(errno, "pty.peer");
  SANDBOX_CHECK(resize_pty(pty.master.get(), rows, columns));
  return pty;
}

Result<void> resize_pty(int master, std::uint16_t rows, std::uint16_t columns) {
  winsize size{};
  size.ws_row = rows;
  size.ws_col = columns;
  if (::ioctl(master, TIOCSWINSZ, &size) != 0) return Error::from_errno(errno, "pty.resize");
  return {};
}

}  // namespace sandbox::os
