#include "os/seccomp.hpp"

#include <linux/sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "core/unique_fd.hpp"

namespace sandbox::os {
namespace {

// What a sandbox may call, by purpose. Everything else fails with EPERM. Left out on purpose, with the reason:
//   mount family, pivot_root, chroot, setns, unshare, clone with CLONE_NEW*   namespaces are how most escapes begin
//   bpf, perf_event_open, userfaultfd, io_uring_*, fanotify_*, lookup_dcookie   large kernel surface, no use here
//   keyctl, add_key, request_key                                               keyrings are not namespaced
//   init_module, finit_module, delete_module, kexec_*, reboot, swap*, syslog, acct, quotactl   of the machine
//   settimeofday, clock_settime, adjtimex, stime                               the clock is shared with the host
//   ptrace, process_vm_*, kcmp, pidfd_getfd, process_madvise                   debugging; opens other processes' memory,
//                                                                              and its history of bugs is long
//   open_by_handle_at, name_to_handle_at                                       reach files outside the mount namespace
//   mknod of devices is refused by the kernel (no capability); mknodat stays for FIFOs
//   personality other than querying and the default                            switches off address randomisation
//   iopl, ioperm, modify_ldt, vm86, uselib, ustat, sysfs, nfsservctl           obsolete, privileged
//   memfd_secret, landlock_*: allowed, they only take away; seccomp: allowed, filters only get stricter
constexpr const char* kAllowed[] = {
    // files
    "read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev", "preadv2", "pwritev2", "open",
    "openat", "openat2", "creat", "close", "close_range", "stat", "fstat", "lstat", "newfstatat", "statx", "statfs",
    "fstatfs", "lseek", "access", "faccessat", "faccessat2", "dup", "dup2", "dup3", "fcntl", "flock", "fsync",
    "fdatasync", "sync_file_range", "syncfs", "sync", "truncate", "ftruncate", "fallocate", "fadvise64", "readahead",
    "getdents", "getdents64", "getcwd", "chdir", "fchdir", "rename", "renameat", "renameat2", "mkdir", "mkdirat", "rmdir",
    "link", "linkat", "unlink", "unlinkat", "symlink", "symlinkat", "readlink", "readlinkat", "chmod", "fchmod",
    "fchmodat", "chown", "fchown", "lchown", "fchownat", "umask", "utime", "utimes", "utimensat", "futimesat", "mknod",
    "mknodat", "sendfile", "splice", "tee", "vmsplice", "copy_file_range", "pipe", "pipe2", "cachestat",
    "setxattr", "lsetxattr", "fsetxattr", "getxattr", "lgetxattr", "fgetxattr", "listxattr", "llistxattr", "flistxattr",
    "removexattr", "lremovexattr", "fremovexattr", "inotify_init", "inotify_init1", "inotify_add_watch",
    "inotify_rm_watch", "ioctl",
    // waiting
    "poll", "ppoll", "select", "pselect6", "epoll_create", "epoll_create1", "epoll_ctl", "epoll_ctl_old", "epoll_wait",
    "epoll_wait_old", "epoll_pwait", "epoll_pwait2", "eventfd", "eventfd2", "signalfd", "signalfd4", "timerfd_create",
    "timerfd_settime", "timerfd_gettime", "io_setup", "io_destroy", "io_submit", "io_cancel", "io_getevents",
    "io_pgetevents",
    // memory
    "mmap", "munmap", "mprotect", "mremap", "madvise", "brk", "msync", "mincore", "mlock", "mlock2", "munlock", "mlockall",
    "munlockall", "membarrier", "memfd_create", "memfd_secret", "pkey_mprotect", "pkey_alloc", "pkey_free", "mseal",
    "map_shadow_stack", "remap_file_pages", "get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node",
    // processes and threads
    "fork", "vfork", "execve", "execveat", "exit", "exit_group", "wait4", "waitid", "getpid", "getppid", "gettid",
    "getpgid", "getpgrp", "setpgid", "getsid", "setsid", "set_tid_address", "set_robust_list", "get_robust_list", "rseq",
    "futex", "futex_waitv", "futex_wait", "futex_wake", "futex_requeue", "arch_prctl", "prctl", "sched_yield",
    "sched_getaffinity", "sched_setaffinity", "sched_getparam", "sched_setparam", "sched_getscheduler",
    "sched_setscheduler", "sched_getattr", "sched_setattr", "sched_get_priority_max", "sched_get_priority_min",
    "sched_rr_get_interval", "getpriority", "setpriority", "ioprio_get", "ioprio_set", "getrlimit", "setrlimit",
    "getrusage", "times", "getcpu", "pidfd_open", "pidfd_send_signal", "set_thread_area", "get_thread_area",
    "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self", "seccomp", "restart_syscall",
    // signals
    "rt_sigaction", "rt_sigprocmask", "rt_sigpending", "rt_sigtimedwait", "rt_sigqueueinfo", "rt_tgsigqueueinfo",
    "rt_sigsuspend", "rt_sigreturn", "sigaltstack", "kill", "tkill", "tgkill", "pause", "alarm", "getitimer", "setitimer",
    // identity
    "getuid", "geteuid", "getgid", "getegid", "getresuid", "getresgid", "getgroups", "setuid", "setgid", "setreuid",
    "setregid", "setresuid", "setresgid", "setgroups", "setfsuid", "setfsgid", "capget", "capset",
    // time
    "clock_gettime", "clock_getres", "clock_nanosleep", "gettimeofday", "time", "nanosleep", "timer_create",
    "timer_settime", "timer_gettime", "timer_getoverrun", "timer_delete",
    // sockets; families are limited below
    "socketpair", "connect", "accept", "accept4", "bind", "listen", "getsockname", "getpeername", "getsockopt",
    "setsockopt", "shutdown", "sendto", "recvfrom", "sendmsg", "recvmsg", "sendmmsg", "recvmmsg",
    // System V and POSIX IPC, in an IPC namespace of its own
    "shmget", "shmat", "shmctl", "shmdt", "semget", "semop", "semtimedop", "semctl", "msgget", "msgsnd", "msgrcv",
    "msgctl", "mq_open", "mq_unlink", "mq_timedsend", "mq_timedreceive", "mq_notify", "mq_getsetattr",
    // the machine, reading only
    "uname", "sysinfo", "getrandom", "sched_get_priority_max",
};

/// Newer than what programs must have: they try these first and go on without when the kernel does not know them.
constexpr const char* kUnknown[] = {"clone3", "io_uring_setup", "userfaultfd", "fchmodat2", "statmount", "listmount"};

constexpr unsigned kAddressFamilies[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};

/// All flags of clone(2) that make a namespace.
constexpr unsigned kNewNamespaces[] = {CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC,
                                       CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET};

struct Release {
  void operator()(void* context) const noexcept { ::seccomp_release(context); }
};

Error failure(int result, std::string_view what) {
  return Error::from_errno(-result, "os.seccomp", what);
}

}  // namespace

Result<std::string> compile_filter() {
  std::unique_ptr<void, Release> filter(::seccomp_init(SCMP_ACT_ERRNO(EPERM)));
  if (!filter) return failure(-ENOMEM, "seccomp_init");
  // Foreign entries: the context knows only the native architecture, everything else is killed; x32 shares the native
  // audit number and is told apart by its call numbers, which libseccomp refuses with the same action.
  if (int r = ::seccomp_attr_set(filter.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS); r < 0)
    return failure(r, "bad architecture");
  if (int r = ::seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2); r < 0) return failure(r, "optimize");

  auto rule = [&](std::uint32_t action, const char* name, std::initializer_list<scmp_arg_cmp> arguments = {}) -> int {
    const int number = ::seccomp_syscall_resolve_name(name);
    if (number < 0) return 0;  // unknown to this libseccomp or not of this architecture: stays forbidden
    return ::seccomp_rule_add_array(filter.get(), action, number, static_cast<unsigned>(arguments.size()), arguments.begin());
  };
  for (const char* name : kAllowed)
    if (int r = rule(SCMP_ACT_ALLOW, name); r < 0 && r != -EEXIST) return failure(r, name);
  for (const char* name : kUnknown)
    if (int r = rule(SCMP_ACT_ERRNO(ENOSYS), name); r < 0) return failure(r, name);

  // clone: threads and processes, no namespaces.
  std::uint64_t namespaces = 0;
  for (const unsigned flag : kNewNamespaces) namespaces |= flag;
  if (int r = rule(SCMP_ACT_ALLOW, "clone", {SCMP_A0_64(SCMP_CMP_MASKED_EQ, namespaces, 0)}); r < 0) return failure(r, "clone");
  // socket: no raw packet, vsock (the hypervisor's), alg, bluetooth … families.
  for (const unsigned family : kAddressFamilies)
    if (int r = rule(SCMP_ACT_ALLOW, "socket", {SCMP_A0_32(SCMP_CMP_EQ, family)}); r < 0) return failure(r, "socket");
  // prlimit64: one's own limits; others' only through the ordinary permission check when reading.
  if (int r = rule(SCMP_ACT_ALLOW, "prlimit64", {SCMP_A0_32(SCMP_CMP_EQ, 0)}); r < 0) return failure(r, "prlimit64");
  // personality: asking (0xffffffff) and PER_LINUX.
  for (const unsigned persona : {0u, 0xffffffffu})
    if (int r = rule(SCMP_ACT_ALLOW, "personality", {SCMP_A0_32(SCMP_CMP_EQ, persona)}); r < 0) return failure(r, "personality");

  core::UniqueFd memory(::memfd_create("filter", MFD_CLOEXEC));
  if (!memory) return failure(-errno, "memfd");
  if (int r = ::seccomp_export_bpf(filter.get(), memory.get()); r < 0) return failure(r, "export");
  std::string program(static_cast<std::size_t>(::lseek(memory.get(), 0, SEEK_END)), '\0');
  if (::pread(memory.get(), program.data(), program.size(), 0) != static_cast<ssize_t>(program.size()))
    return failure(-EIO, "export");
  return program;
}

}  // namespace sandbox::os
