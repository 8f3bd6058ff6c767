#include "os/seccomp.hpp"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <map>
#include <span>
#include <utility>
#include <vector>

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
    "inotify_rm_watch",
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
    "sched_getaffinity", "sched_getparam", "sched_getscheduler", "sched_getattr", "sched_get_priority_max",
    "sched_get_priority_min", "sched_rr_get_interval", "getpriority", "ioprio_get", "getrlimit", "setrlimit",
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
    "uname", "sysinfo", "getrandom",
    // names without a body: the kernel itself says ENOSYS, and the list stays in one piece
    "create_module", "get_kernel_syms", "query_module", "getpmsg", "putpmsg", "afs_syscall", "tuxcall", "security", "vserver",
};

/// Newer than what programs must have: they try these first and go on without when the kernel does not know them.
constexpr const char* kUnknown[] = {"clone3", "io_uring_setup", "userfaultfd", "fchmodat2", "statmount", "listmount"};

constexpr unsigned kAddressFamilies[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};

/// All flags of clone(2) that make a namespace.
constexpr unsigned kNewNamespaces[] = {CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC,
                                       CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET};

// ioctl: everything a descriptor offers, except putting characters into a terminal's input, which would type commands
// for whoever reads that terminal next (this kernel may have dev.tty.legacy_tiocsti on).
constexpr unsigned kDeniedIoctls[] = {0x5412 /* TIOCSTI */, 0x541C /* TIOCLINUX */};

#if defined(__x86_64__)
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_X86_64;
constexpr bool kHasX32 = true;
#elif defined(__aarch64__)
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
constexpr bool kHasX32 = false;
#else
#error "the audit name of this architecture is not written yet"
#endif

/// Names that point forward, resolved when the program is complete.
enum Label : int { kAllow = -1, kDeny = -2, kNoSuchCall = -3, kKill = -4, kFirstBlock = -16 };

/// Assembles a program of the shape: header, binary search over the call's number, blocks that look at arguments, returns.
/// libseccomp's own output for this list has 408 instructions and costs 250 µs to install in every sandbox; this has
/// under 200. Jumps are 8 bits wide, which is checked.
class Assembler {
 public:
  void load(std::uint32_t offset) { steps_.push_back({{BPF_LD | BPF_W | BPF_ABS, 0, 0, offset}, 0, 0}); }
  void mask(std::uint32_t bits) { steps_.push_back({{BPF_ALU | BPF_AND | BPF_K, 0, 0, bits}, 0, 0}); }
  /// `yes` and `no` are labels, or 0 for the next instruction.
  std::size_t jump(std::uint16_t kind, std::uint32_t value, int yes, int no) {
    steps_.push_back({{static_cast<std::uint16_t>(BPF_JMP | kind | BPF_K), 0, 0, value}, yes, no});
    return steps_.size() - 1;
  }
  void place(int label) { labels_[label] = steps_.size(); }
  void give(int label, std::uint32_t action) {
    place(label);
    steps_.push_back({{BPF_RET | BPF_K, 0, 0, action}, 0, 0});
  }

  struct Segment {
    std::uint32_t start;
    int label;
  };
  /// Goes to the label of the last segment whose start is not above the accumulator. `segments` are sorted, from 0.
  void search(std::span<const Segment> segments) {
    const std::size_t middle = segments.size() / 2;
    const auto left = segments.first(middle), right = segments.subspan(middle);
    const std::size_t at = jump(BPF_JGE, right.front().start, right.front().label, left.front().label);
    if (left.size() > 1) {
      steps_[at].no = 0;
      search(left);
    }
    if (right.size() > 1) {
      steps_[at].yes = next_subtree_;
      place(next_subtree_--);
      search(right);
    }
  }

  Result<std::string> finish() const {
    std::string program;
    for (std::size_t at = 0; at < steps_.size(); ++at) {
      sock_filter step = steps_[at].code;
      if (BPF_CLASS(step.code) == BPF_JMP) {
        for (const auto& [label, offset] : {std::pair{steps_[at].yes, &step.jt}, std::pair{steps_[at].no, &step.jf}}) {
          const std::size_t distance = label == 0 ? 0 : labels_.at(label) - at - 1;
          if (distance > 255) return Error(ErrorCode::internal, "a jump in the system call filter is too long").with_operation("os.seccomp");
          *offset = static_cast<std::uint8_t>(distance);
        }
      }
      program.append(reinterpret_cast<const char*>(&step), sizeof step);
    }
    return program;
  }

 private:
  struct Step {
    sock_filter code;
    int yes, no;
  };
  std::vector<Step> steps_;
  std::map<int, std::size_t> labels_;
  int next_subtree_ = -1000;
};

constexpr std::uint32_t argument_low(unsigned index) { return static_cast<std::uint32_t>(offsetof(seccomp_data, args) + index * 8); }

}  // namespace

Result<std::string> compile_filter() {
  std::map<std::uint32_t, int> calls;
  const auto add = [&](const char* name, int label) {
    const int number = ::seccomp_syscall_resolve_name(name);
    if (number >= 0) calls[static_cast<std::uint32_t>(number)] = label;  // others are not of this architecture
  };
  for (const char* name : kAllowed) add(name, kAllow);
  for (const char* name : kUnknown) add(name, kNoSuchCall);
  enum : int { kClone = kFirstBlock, kSocket = kFirstBlock - 1, kLimit = kFirstBlock - 2, kPersona = kFirstBlock - 3, kControl = kFirstBlock - 4,
               kSchedule = kFirstBlock - 5, kPriority = kFirstBlock - 6, kIoPriority = kFirstBlock - 7 };
  add("clone", kClone);
  add("socket", kSocket);
  add("prlimit64", kLimit);
  add("personality", kPersona);
  add("ioctl", kControl);
  for (const char* name : {"sched_setaffinity", "sched_setparam", "sched_setscheduler", "sched_setattr"}) add(name, kSchedule);
  add("setpriority", kPriority);
  add("ioprio_set", kIoPriority);

  std::vector<Assembler::Segment> segments{{0, kDeny}};
  const auto segment = [&](std::uint32_t start, int label) {
    if (segments.back().start == start) segments.back().label = label;
    else if (segments.back().label != label) segments.push_back({start, label});
  };
  for (const auto& [number, label] : calls) {
    segment(number, label);
    if (!calls.contains(number + 1)) segment(number + 1, kDeny);
  }

  Assembler code;
  code.load(offsetof(seccomp_data, arch));
  code.jump(BPF_JEQ, kArchitecture, 0, kKill);  // 32-bit entry of the same kernel: other numbers, other bugs
  code.load(offsetof(seccomp_data, nr));
  if (kHasX32) code.jump(BPF_JGE, 0x40000000, kKill, 0);
  code.search(segments);

  // clone: threads and processes, no namespaces. The flags that matter lie in the lower half.
  std::uint32_t namespaces = 0;
  for (const unsigned flag : kNewNamespaces) namespaces |= flag;
  code.place(kClone);
  code.load(argument_low(0));
  code.jump(BPF_JSET, namespaces, kDeny, kAllow);
  // socket: no raw packet, vsock (the hypervisor's), alg, bluetooth … families.
  const auto one_of = [&](int label, unsigned argument, std::span<const unsigned> values, int found, int missing) {
    code.place(label);
    code.load(argument_low(argument));
    for (std::size_t i = 0; i < values.size(); ++i) code.jump(BPF_JEQ, values[i], found, i + 1 == values.size() ? missing : 0);
  };
  one_of(kSocket, 0, kAddressFamilies, kAllow, kDeny);
  // prlimit64: one's own limits.
  constexpr unsigned kSelf[] = {0};
  one_of(kLimit, 0, kSelf, kAllow, kDeny);
  // personality: asking (0xffffffff) and PER_LINUX.
  constexpr unsigned kPersonas[] = {0, 0xffffffff};
  one_of(kPersona, 0, kPersonas, kAllow, kDeny);
  one_of(kControl, 1, kDeniedIoctls, kDeny, kAllow);
  // Scheduling of anybody but process 1: the agent has the same uid, and nothing inside may slow it down.
  constexpr unsigned kAgent[] = {1};
  one_of(kSchedule, 0, kAgent, kDeny, kAllow);
  // The same for what names a process, a group (the agent's is 1) or all of a user, of whom the agent is one.
  for (const auto& [label, whole_user] : {std::pair{int{kPriority}, 2u /* PRIO_USER */}, std::pair{int{kIoPriority}, 3u /* IOPRIO_WHO_USER */}}) {
    code.place(label);
    code.load(argument_low(0));
    code.jump(BPF_JEQ, whole_user, kDeny, 0);
    code.load(argument_low(1));
    code.jump(BPF_JEQ, kAgent[0], kDeny, kAllow);
  }

  code.give(kAllow, SECCOMP_RET_ALLOW);
  code.give(kDeny, SECCOMP_RET_ERRNO | EPERM);
  code.give(kNoSuchCall, SECCOMP_RET_ERRNO | ENOSYS);
  code.give(kKill, SECCOMP_RET_KILL_PROCESS);
  return code.finish();
}

}  // namespace sandbox::os
