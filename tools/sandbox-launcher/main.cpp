// sandbox-launcher: makes sandboxes for one native backend, which started it and holds the other end of descriptor 3.
// See lib/launch/README.md for what is said there.
#include <fcntl.h>
#include <grp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>

#include "base.hpp"
#include "core/sync_point.hpp"
#include "os/fd_passing.hpp"
#include "os/syscalls.hpp"
#include "server.hpp"

int main() {
  using namespace sandbox;
  SANDBOX_SYNC_POINT("launcher.started");
  constexpr int kControl = 3;
  ::umask(0);
  // Descriptors 4 and 5 stay taken: a sandbox's agent gets 3 to 5, and none of ours may have those numbers.
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0) return 70;
  for (int taken = 4; taken <= 5; ++taken)
    if (null != taken && ::dup3(null, taken, O_CLOEXEC) < 0) return 70;
  if (::fcntl(kControl, F_SETFD, FD_CLOEXEC) != 0) return 64;
  os::close_range(6, ~0u, 0);
  struct rlimit files {};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &files);
  }
  ::prctl(PR_SET_NAME, "sandbox-launch", 0, 0, 0);

  auto base = launcher::Base::enter();
  if (!base) {
    // The first reply, whatever is asked, is why there will be no other.
    launch::Reply reply = launch::failure(1, base.error());
    const std::string bytes = protocol::encode(reply);
    os::send_packet(kControl, as_bytes(bytes)).ignore("nobody is left to tell");
    return 69;
  }
  if (!base->rootless()) ::setgroups(0, nullptr);
  SANDBOX_SYNC_POINT("launcher.entered");
  launcher::Server server(kControl, *std::move(base));
  ::_exit(server.run());
}
