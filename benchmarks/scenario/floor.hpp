#pragma once

#include <string>
#include <sys/types.h>
#include <vector>

#include <sandbox/result.hpp>

/// The least this host needs for a thing, done with bare system calls.
namespace bench {

/// vfork + execve of `argv` with standard input from /dev/null and output and error on two pipes, read to their end,
/// then wait4. Returns the exit code. Errors: the step that failed.
sandbox::Result<int> run_with_pipes(const std::vector<std::string>& argv);
/// vfork + execve + wait4 with all three standard descriptors on /dev/null.
sandbox::Result<int> run_silent(const std::vector<std::string>& argv);

/// A bare container: own user, mount, pid, ipc, uts, cgroup and (if `network`) network namespaces with loopback up, one id
/// mapped, a tmpfs root with /usr bound, proc, dev nodes and a second tmpfs, pivot_root, static process 1. No cgroup, no
/// seccomp, no masks, no overlay, no verification.
class BareBox {
 public:
  static sandbox::Result<BareBox> create(bool network);
  BareBox(BareBox&& other) noexcept;
  BareBox& operator=(BareBox&&) = delete;
  ~BareBox();
  /// Its process 1 runs /usr/bin/true and waits for it.
  sandbox::Result<void> exec_true();
  /// SIGKILL to process 1 and waitid.
  void destroy();

 private:
  BareBox(pid_t pid, int control) : pid_(pid), control_(control) {}
  pid_t pid_;
  int control_;
};

}  // namespace bench
