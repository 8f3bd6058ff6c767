// sandbox-launcher: makes sandboxes for one native backend, which started it and holds the other end of descriptor 3.
// See lib/launch/README.md for what is said there.
#include <fcntl.h>
#include <grp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "base.hpp"
#include "core/sync_point.hpp"
#include "os/fd_passing.hpp"
#include "os/syscalls.hpp"
#include "server.hpp"

namespace {

constexpr int kControl = 3;

/// The first reply, whatever is asked, is why there will be no other.
int refuse(const sandbox::Error& why, int status) {
  why.ignore("told");
  const std::string bytes = sandbox::protocol::encode(sandbox::launch::failure(1, why));
  sandbox::os::send_packet(kControl, sandbox::as_bytes(bytes)).ignore("nobody is left to tell");
  return status;
}

int refuse(const char* step, int status) { return refuse(sandbox::Error::from_errno(errno, "native.launcher", step), status); }

}  // namespace

int main() {
  using namespace sandbox;
  SANDBOX_SYNC_POINT("launcher.started");
  ::umask(0);
  // Descriptors 4 and 5 stay taken: a sandbox's agent gets 3 to 5, and none of ours may have those numbers.
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0) return refuse("/dev/null", 70);
  for (int taken = 4; taken <= 5; ++taken)
    if (null != taken && ::dup3(null, taken, O_CLOEXEC) < 0) return refuse("dup3", 70);
  if (::fcntl(kControl, F_SETFD, FD_CLOEXEC) != 0) return refuse("control socket", 64);
  os::close_range(6, ~0u, 0);
  struct rlimit files {};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &files);
  }
  ::prctl(PR_SET_NAME, "sandbox-launch", 0, 0, 0);

  auto base = launcher::Base::enter();
  if (!base) return refuse(base.error(), 69);
  if (!base->rootless()) ::setgroups(0, nullptr);
  SANDBOX_SYNC_POINT("launcher.entered");
  launcher::Server server(kControl, *std::move(base));
  if (auto begun = server.begin(); !begun) ::_exit(refuse(begun.error(), 70));
  ::_exit(server.run());
}
