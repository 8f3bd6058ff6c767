#include "child.hpp"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/futex.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>

#include "core/sync_point.hpp"
#include "os/landlock.hpp"
#include "os/syscalls.hpp"

// Not in the headers of Debian 12's musl.
#ifndef MS_BIND
#define MS_RDONLY 1
#define MS_NOSUID 2
#define MS_NODEV 4
#define MS_NOEXEC 8
#define MS_REMOUNT 32
#define MS_BIND 4096
#define MS_MOVE 8192
#define MS_REC 16384
#endif

namespace sandbox::launcher {
namespace {

using os::raw::call;

std::uint64_t now_ns() noexcept {
  timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1000000000u + static_cast<std::uint64_t>(now.tv_nsec);
}

[[noreturn]] void fail(ChildState& state, const char* operation, const char* detail, long error) noexcept {
  state.operation = operation;
  state.detail = detail;
  state.sys_errno = static_cast<int>(-error);
  state.failed.store(1, std::memory_order_release);
  for (;;) call(SYS_exit_group, 126);
}

/// One step: ends the child with its name when the call fails. Yields the call's result.
struct Steps {
  ChildState& state;
  long operator()(const char* operation, const char* detail, long result) const noexcept {
    if (result < 0) fail(state, operation, detail, result);
    return result;
  }
  void done(Step step) const noexcept {
    state.timings[static_cast<int>(step)] = static_cast<std::uint32_t>((now_ns() - state.start_ns) / 1000);
  }
};

void join_cgroups(const Steps& step, const ChildPlan& plan) {
  for (int i = 0; i < plan.join_count; ++i) step("native.cgroup", "tasks", call(SYS_write, plan.joins[i], "0", 1));
  step("native.namespace", "cgroup", call(SYS_unshare, CLONE_NEWCGROUP));
}

void wait_for_go(const Steps& step, ChildState& state) {
  while (state.go.load(std::memory_order_acquire) == 0) {
    const timespec patience{10, 0};
    const long result = call(SYS_futex, &state.go, FUTEX_WAIT_PRIVATE, 0, &patience, nullptr, 0);
    if (result == -ETIMEDOUT) step("native.launch", "the launcher never said go", result);
  }
  if (state.go.load(std::memory_order_acquire) != 1) step("native.launch", "given up by the launcher", -ECANCELED);
  // Our own table from here on, without what the launcher holds for other sandboxes.
  step("native.fds", "unshare", call(os::nr::close_range, kFirstKeptFd, ~0u, 2 /* CLOSE_RANGE_UNSHARE */));
  state.own_files.store(1, std::memory_order_release);
}

void die_with_launcher(const Steps& step, const ChildPlan& plan) {
  step("native.launch", "parent death signal", call(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0));
  pollfd launcher{plan.launcher_pidfd, POLLIN, 0};
  const timespec none{0, 0};
  if (step("native.launch", "poll", call(SYS_ppoll, &launcher, 1, &none, nullptr, 8)) != 0)
    step("native.launch", "the launcher is gone", -ECHILD);
}

/// Appears as uid and gid 0 of the new user namespace.
void become_root(const Steps& step, const ChildPlan& plan) {
  if (!plan.rootless) step("native.identity", "setgroups", call(SYS_setgroups, 0, nullptr));
  step("native.identity", "setresgid", call(SYS_setresgid, 0, 0, 0));
  step("native.identity", "setresuid", call(SYS_setresuid, 0, 0, 0));
}

void attach(const Steps& step, int tree, const char* target) {
  step("native.mount", target, os::move_mount(tree, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH));
}

constexpr unsigned long kRootFlags = MS_NOSUID | MS_NODEV;

void mount_root(const Steps& step, const ChildPlan& plan) {
  attach(step, plan.writable, "/work");
  if (plan.scratch >= 0) attach(step, plan.scratch, "/scratch");
  for (int i = 0; i < plan.directory_count; ++i) {
    const NewDirectory& directory = plan.directories[i];
    step("native.writable", directory.path, call(SYS_mkdirat, AT_FDCWD, directory.path, directory.mode));
  }
  if (!plan.root_options) {
    attach(step, plan.root_tree, "/new");
    return;
  }
  const unsigned long flags = kRootFlags | (plan.writable_root ? 0 : MS_RDONLY);
  for (int i = 0; i < plan.lower_count; ++i) attach(step, plan.lowers[i], plan.lower_targets[i]);
  step("native.overlay", plan.root_options, call(SYS_mount, "overlay", "/new", "overlay", flags, plan.root_options));
  for (int i = 0; i < plan.attached_count; ++i) {
    const AttachedTree& tree = plan.attached_trees[i];
    attach(step, plan.attached[i], tree.lower ? tree.lower : tree.target);
    if (tree.lower) step("native.overlay", tree.options, call(SYS_mount, "overlay", tree.target, "overlay", flags, tree.options));
  }
}

void mount_writable(const Steps& step, const ChildPlan& plan) {
  for (int i = 0; i < plan.place_count; ++i) {
    const WritablePlace& place = plan.places[i];
    if (place.options) {
      const unsigned long flags = MS_NOSUID | MS_NODEV | (place.no_exec ? MS_NOEXEC : 0);
      step("native.overlay", place.options, call(SYS_mount, "overlay", place.target, "overlay", flags, place.options));
      continue;
    }
    const int tree = static_cast<int>(step("native.mount", place.inside, os::open_tree(AT_FDCWD, place.source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)));
    if (place.no_exec) {
      mount_attr attributes{};
      attributes.attr_set = MOUNT_ATTR_NOEXEC;
      step("native.mount", place.inside, os::mount_setattr(tree, "", AT_EMPTY_PATH, attributes));
    }
    attach(step, tree, place.target);
  }
}

void mount_proc(const Steps& step, const ChildPlan& plan) {
  // Read-only as a whole: what programs write there (oom_score_adj, another thread's name) they can do without, and
  // /proc/sys, /proc/sysrq-trigger and the like need no locks of their own.
  step("native.mount", "/proc", call(SYS_mount, "proc", "/new/proc", "proc", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr));
  for (int i = 0; i < plan.mask_count; ++i)
    step("native.mask", plan.masks[i], call(SYS_mount, plan.mask_is_directory[i] ? "/empty" : "/nothing", plan.masks[i], nullptr, MS_BIND, nullptr));
  step("native.mount", "/dev/pts", call(SYS_mount, "devpts", "/new/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
                                        plan.rootless ? "newinstance,ptmxmode=0666,mode=0620" : "newinstance,ptmxmode=0666,mode=0620,gid=5"));
}

/// Puts the new root over the old one and enters it, as a host's initramfs does. pivot_root would then have to detach the
/// old one, which waits for an RCU grace period (0.3 ms idle, 4 ms on a busy host) and for a walk over every process. What
/// stays below is the launcher's lean tmpfs of empty directories and a proc: nothing of the host's or of another image's
/// files. It is out of reach: names resolve from our root upwards no further, mountinfo hides it, and to take the new
/// root away again takes CAP_SYS_ADMIN or CAP_SYS_CHROOT, gone before anything else runs, and system calls the filter refuses.
void enter_root(const Steps& step, const ChildPlan& plan) {
  step("native.root", "chdir /new", call(SYS_chdir, "/new"));
  step("native.root", "move to /", call(SYS_mount, ".", "/", nullptr, MS_MOVE, nullptr));
  step("native.root", "chroot", call(SYS_chroot, "."));
  step("native.root", "chdir /", call(SYS_chdir, "/"));
  step("native.workdir", plan.workdir, call(SYS_chdir, plan.workdir));
}

void set_limits(const Steps& step, const ChildPlan& plan) {
  for (int i = 0; i < plan.limit_count; ++i) {
    const std::uint64_t limit[2] = {plan.limits[i].most, plan.limits[i].most};
    step("native.rlimit", plan.limits[i].name, call(SYS_prlimit64, 0, plan.limits[i].resource, limit, nullptr));
  }
}

void landlock(const Steps& step, const ChildPlan& plan) {
  if (plan.landlock_abi <= 0) return;
  const int rules = static_cast<int>(step("native.landlock", "ruleset", os::landlock::create_ruleset(plan.landlock_abi, true)));
  const std::uint64_t changes = os::landlock::changes(plan.landlock_abi);
  auto allow = [&](const char* path, std::uint64_t access) {
    const int fd = static_cast<int>(step("native.landlock", path, call(SYS_openat, AT_FDCWD, path, O_PATH | O_CLOEXEC)));
    step("native.landlock", path, os::landlock::allow_beneath(rules, fd, access));
  };
  if (plan.writable_root) {
    allow("/", changes);
  } else {
    for (int i = 0; i < plan.place_count; ++i) allow(plan.places[i].inside, changes);
  }
  allow("/dev", LANDLOCK_ACCESS_FS_WRITE_FILE | (plan.landlock_abi >= 3 ? os::landlock::kTruncate : 0));
  step("native.landlock", "restrict", os::landlock::restrict_self(rules));
}

void drop_capabilities(const Steps& step) {
  for (unsigned long capability = 0; capability <= 63; ++capability) {
    const long result = call(SYS_prctl, PR_CAPBSET_DROP, capability, 0, 0, 0);
    if (result == -EINVAL) break;  // beyond the kernel's last one
    step("native.capabilities", "bounding set", result);
  }
  step("native.capabilities", "securebits",
       call(SYS_prctl, PR_SET_SECUREBITS,
            SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED |
                SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED,
            0, 0, 0));
  step("native.capabilities", "ambient set", call(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  const __user_cap_data_struct none[2] = {};
  step("native.capabilities", "capset", call(SYS_capset, &header, none));
}

void arrange_descriptors(const Steps& step, const ChildPlan& plan) {
  const int null = static_cast<int>(step("native.fds", "/dev/null", call(SYS_openat, AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC)));
  for (int fd = 0; fd < 3; ++fd) step("native.fds", "standard streams", call(SYS_dup3, null, fd, 0));
  // The agent itself is close-on-exec already; marking is cheaper than asking which is open.
  step("native.fds", "close", call(os::nr::close_range, 3, ~0u, 4 /* CLOSE_RANGE_CLOEXEC */));
  // 3 to 5 are the launcher's control socket and /dev/null: never one of ours, so nothing needed is overwritten.
  step("native.fds", "stream", call(SYS_dup3, plan.stream, 3, 0));
  if (plan.oom_counter >= 0) step("native.fds", "memory counter", call(SYS_dup3, plan.oom_counter, 4, 0));
  if (plan.door >= 0) step("native.fds", "transport door", call(SYS_dup3, plan.door, 5, 0));
}

}  // namespace

void child_main(ChildState& state) noexcept {
  const ChildPlan& plan = state.plan;
  const Steps step{state};

  SANDBOX_SYNC_POINT("child.started");
  die_with_launcher(step, plan);
  join_cgroups(step, plan);
  step.done(Step::cgroup);
  step("native.hostname", plan.hostname, call(SYS_sethostname, plan.hostname, plan.hostname_size));
  step("native.identity", "setsid", call(SYS_setsid));
  step.done(Step::identity);
  wait_for_go(step, state);
  SANDBOX_SYNC_POINT("child.told_to_go");
  step.done(Step::wait);
  become_root(step, plan);
  mount_root(step, plan);
  step.done(Step::root);
  mount_writable(step, plan);
  SANDBOX_SYNC_POINT("child.root_mounted");
  step.done(Step::writable);
  mount_proc(step, plan);
  step.done(Step::proc);
  enter_root(step, plan);
  SANDBOX_SYNC_POINT("child.root_entered");
  step.done(Step::enter);
  set_limits(step, plan);
  arrange_descriptors(step, plan);
  drop_capabilities(step);
  step("native.no_new_privs", "", call(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
  landlock(step, plan);
  die_with_launcher(step, plan);  // becoming root took the signal away
  SANDBOX_SYNC_POINT("child.locked");
  step.done(Step::locks);
  step("native.seccomp", "filter", call(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &plan.filter));
  step.done(Step::filter);
  SANDBOX_SYNC_POINT("child.before_agent");
  step("native.exec", "agent", call(SYS_execveat, plan.agent, "", plan.argv, plan.environment, AT_EMPTY_PATH));
  fail(state, "native.exec", "agent", -EINVAL);
}

namespace {
extern "C" [[noreturn]] void sandbox_child_entry(ChildState* state) { child_main(*state); }
}  // namespace

long start_child(ChildState& state, void* stack_top, std::uint64_t flags, int cgroup_directory, int& pidfd) noexcept {
  struct clone_args arguments {};
  arguments.flags = flags | CLONE_VM | CLONE_FILES | CLONE_PIDFD | CLONE_CHILD_CLEARTID | CLONE_CLEAR_SIGHAND;
  if (cgroup_directory >= 0) {
    arguments.flags |= CLONE_INTO_CGROUP;
    arguments.cgroup = static_cast<std::uint64_t>(cgroup_directory);
  }
  arguments.pidfd = reinterpret_cast<std::uint64_t>(&pidfd);
  arguments.child_tid = reinterpret_cast<std::uint64_t>(&state.tid);
  arguments.exit_signal = SIGCHLD;
  arguments.stack = reinterpret_cast<std::uint64_t>(stack_top) - kChildStack;
  arguments.stack_size = kChildStack;
  state.start_ns = now_ns();
  state.tid.store(1, std::memory_order_relaxed);
#if defined(__x86_64__)
  long result;
  register ChildState* argument asm("r12") = &state;
  asm volatile(
      "syscall\n\t"
      "test %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "xor %%ebp, %%ebp\n\t"
      "mov %%r12, %%rdi\n\t"
      "call sandbox_child_entry\n\t"
      "ud2\n"
      "1:"
      : "=a"(result)
      : "a"(os::nr::clone3), "D"(&arguments), "S"(sizeof arguments), "r"(argument)
      : "rcx", "r11", "memory", "cc");
#elif defined(__aarch64__)
  long result;
  register ChildState* argument asm("x19") = &state;
  register long x8 asm("x8") = os::nr::clone3;
  register long x0 asm("x0") = reinterpret_cast<long>(&arguments);
  register long x1 asm("x1") = sizeof arguments;
  asm volatile(
      "svc 0\n\t"
      "cbnz x0, 1f\n\t"
      "mov x29, xzr\n\t"
      "mov x0, x19\n\t"
      "bl sandbox_child_entry\n\t"
      "brk #1\n"
      "1:"
      : "+r"(x0)
      : "r"(x8), "r"(x1), "r"(argument)
      : "memory", "cc");
  result = x0;
#endif
  if (result < 0) state.tid.store(0, std::memory_order_relaxed);
  return result;
}

}  // namespace sandbox::launcher
