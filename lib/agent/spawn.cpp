#include "agent/spawn.hpp"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string_view>

#ifndef SYS_close_range
#define SYS_close_range 436
#endif

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANDBOX_NO_SANITIZE __attribute__((no_sanitize("address", "thread", "undefined")))
#else
#define SANDBOX_NO_SANITIZE
#endif

namespace sandbox::agent {
namespace {

constexpr unsigned kCloseRangeCloexec = 4;   // CLOSE_RANGE_CLOEXEC, linux/close_range.h

enum class Step : int { setup, workdir, program };

/// In memory the child shares with the caller.
struct Child {
  const SpawnRequest* request;
  Step failed_step = Step::setup;
  int error = 0;
};

/// Runs on its own small stack in the caller's memory: raw system calls only, nothing that allocates, locks or unwinds.
SANDBOX_NO_SANITIZE int run_child(void* argument) {
  Child& child = *static_cast<Child*>(argument);
  const SpawnRequest& request = *child.request;
  ::syscall(SYS_setsid);
  if (request.terminal && ::syscall(SYS_ioctl, request.input, TIOCSCTTY, 0) != 0) goto failed;
  if (::syscall(SYS_dup3, request.input, 0, 0) < 0 || ::syscall(SYS_dup3, request.output, 1, 0) < 0 ||
      ::syscall(SYS_dup3, request.error, 2, 0) < 0)
    goto failed;
  // Everything the agent opens is O_CLOEXEC; this is for descriptors it inherited without knowing.
  if (::syscall(SYS_close_range, 3U, ~0U, kCloseRangeCloexec) != 0) {
    for (int fd = 3; fd < 1024; ++fd) ::syscall(SYS_fcntl, fd, F_SETFD, FD_CLOEXEC);
  }
  if (request.mark != 0) {
    const std::uint64_t limit[2] = {request.mark, request.mark_limit};   // struct rlimit64
    ::syscall(SYS_prlimit64, 0, RLIMIT_LOCKS, limit, nullptr);
  }
  if (request.open_files != 0) {
    const std::uint64_t limit[2] = {request.open_files, request.open_files};
    if (::syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, limit, nullptr) != 0) goto failed;
  }
  if (::syscall(SYS_chdir, request.workdir) != 0) {
    child.failed_step = Step::workdir;
    goto failed;
  }
  {
    const std::uint64_t no_signals = 0;
    ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &no_signals, nullptr, sizeof no_signals);
  }
  ::syscall(SYS_execve, request.program, request.arguments, request.environment);
  child.failed_step = Step::program;
failed:
  child.error = errno;
  ::syscall(SYS_exit_group, 127);
  __builtin_unreachable();
}

Error start_error(const Child& child) {
  switch (child.failed_step) {
    case Step::workdir: return Error::from_errno(child.error, "exec.workdir", child.request->workdir);
    case Step::program: {
      // The file is there, so what is missing is what its first line or its ELF header names.
      if (child.error == ENOENT && child.request->program[0] == '/' && ::access(child.request->program, F_OK) == 0)
        return Error::from_errno(child.error, "exec.program", std::string(child.request->program) + ": its interpreter");
      return Error::from_errno(child.error, "exec.program", child.request->program);
    }
    case Step::setup: break;
  }
  return Error::from_errno(child.error, "exec.setup");
}

}  // namespace

Result<pid_t> spawn(const SpawnRequest& request) {
  Child child{&request};
  alignas(16) char stack[8192];
  // Not CLONE_PIDFD: SIGCHLD is watched anyway, for orphans.
  const int pid = ::clone(&run_child, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, &child);
  if (pid < 0) {
    const int error = errno;
    return Error(ErrorCode::resource_exhausted, error == EAGAIN ? "too many processes" : "no memory for another process")
        .with_operation("exec.fork")
        .with_errno(error)
        .with_retry(Retry::after_backoff);
  }
  if (child.error != 0) {
    // It is on its way out and nobody may learn of it: it never became the program.
    while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    return start_error(child);
  }
  return pid;
}

Result<std::string> find_program(const std::string& name, std::string_view path, const std::string& workdir) {
  if (name.find('/') != name.npos) return name;
  if (path.empty()) path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  bool forbidden = false;
  while (true) {
    const auto colon = path.find(':');
    const std::string_view directory = path.substr(0, colon);
    std::string candidate;
    if (!directory.starts_with('/')) {
      candidate = workdir;
      candidate += '/';
    }
    candidate += directory;
    candidate += '/';
    candidate += name;
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
    forbidden = forbidden || errno == EACCES;
    if (colon == path.npos) break;
    path.remove_prefix(colon + 1);
  }
  if (forbidden) return Error::from_errno(EACCES, "exec.program", name);
  return Error(ErrorCode::not_found, name + ": not found in PATH").with_operation("exec.program").with_errno(ENOENT);
}

}  // namespace sandbox::agent
