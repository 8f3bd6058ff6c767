// Who we are, and every door to becoming somebody else in a namespace of our own.
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "probe.hpp"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

namespace probe {
namespace {

Seen capabilities(const std::string&) {
  for (const char* key : {"CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"}) {
    unsigned long long value = 1;
    if (!status_line(key, 16, value)) return skipped("no /proc/self/status");
    char text[64];
    if (value) return ::snprintf(text, sizeof text, "%s %llx", key, value), open_door(text);
  }
  return blocked_text("all five capability sets are empty");
}

Seen raise_capability(const std::string&) {
  struct Header {
    std::uint32_t version;
    int pid;
  } header{0x20080522, 0};
  struct Data {
    std::uint32_t effective, permitted, inheritable;
  } data[2] = {{1u << 21, 1u << 21, 0}, {0, 0, 0}};  // CAP_SYS_ADMIN
  return verdict(::syscall(SYS_capset, &header, data), "capset(CAP_SYS_ADMIN)");
}

Seen no_new_privs(const std::string&) {
  if (::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1) return blocked_text("no_new_privs is set");
  return open_door("no_new_privs is not set");
}

Seen seccomp_mode(const std::string&) {
  unsigned long long value = 0;
  if (!status_line("Seccomp:", 10, value)) return skipped("no /proc/self/status");
  return value == 2 ? blocked_text("a system call filter is on") : open_door("no system call filter");
}

Seen setuid_file(const std::string&) {
  struct stat status;
  for (const char* path : {"/usr/bin/su", "/bin/su", "/usr/bin/mount", "/usr/bin/passwd", "/usr/bin/newgrp"}) {
    if (::stat(path, &status) != 0 || !(status.st_mode & S_ISUID)) continue;
    struct statvfs space;
    if (::statvfs(path, &space) == 0 && (space.f_flag & ST_NOSUID))
      return blocked_text(std::string(path) + " has the bit, its mount says nosuid");
    if (::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1) return blocked_text(std::string(path) + " has the bit, no_new_privs ignores it");
    return open_door(std::string(path) + " would run as its owner");
  }
  return skipped("no file with the setuid bit is visible");
}

/// Every mount that we can name must say nosuid.
Seen setuid_mounts(const std::string&) {
  const std::string mounts = read_text("/proc/self/mountinfo");
  if (mounts.empty()) return skipped("no mountinfo");
  int count = 0;
  for (std::size_t at = 0; at < mounts.size(); ++count) {
    const std::size_t end = mounts.find('\n', at);
    std::string line = mounts.substr(at, end - at);
    at = end == mounts.npos ? mounts.size() : end + 1;
    if (line.find("nosuid") == line.npos) return open_door("a mount without nosuid: " + line.substr(0, 120));
  }
  return blocked_text("all " + std::to_string(count) + " mounts say nosuid");
}

Seen setgroups_door(const std::string&) {
  const gid_t group = 0;
  return verdict(::setgroups(1, &group), "setgroups");
}

/// Whether a child made with `flags` lives in new namespaces: it is reaped at once.
long clone_with(unsigned long flags) {
  const long pid = ::syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
  if (pid == 0) ::_exit(0);
  if (pid > 0) ::waitpid(static_cast<pid_t>(pid), nullptr, 0);
  return pid;
}

Seen unshare_user(const std::string&) { return verdict(::unshare(CLONE_NEWUSER), "unshare(CLONE_NEWUSER)"); }
Seen clone_user(const std::string&) { return verdict(clone_with(CLONE_NEWUSER), "clone(CLONE_NEWUSER)"); }
Seen clone3_user(const std::string&) {
  struct Arguments {
    std::uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
  } arguments{};
  arguments.flags = CLONE_NEWUSER;
  arguments.exit_signal = SIGCHLD;
  const long pid = ::syscall(435, &arguments, sizeof arguments);
  if (pid == 0) ::_exit(0);
  if (pid > 0) ::waitpid(static_cast<pid_t>(pid), nullptr, 0);
  return verdict(pid, "clone3(CLONE_NEWUSER)");
}

Seen other_namespaces(const std::string&) {
  struct Kind {
    unsigned long flag;
    const char* name;
  };
  for (const Kind& kind : {Kind{CLONE_NEWNS, "mount"}, Kind{CLONE_NEWPID, "pid"}, Kind{CLONE_NEWNET, "network"}, Kind{CLONE_NEWUTS, "uts"},
                           Kind{CLONE_NEWIPC, "ipc"}, Kind{CLONE_NEWCGROUP, "cgroup"}, Kind{CLONE_NEWTIME, "time"}}) {
    // Every attempt in a process of its own: one that succeeds does not help the next.
    const long by_clone = kind.flag == CLONE_NEWTIME ? -1 : clone_with(kind.flag);
    if (by_clone >= 0) return open_door(std::string("clone: a new ") + kind.name + " namespace");
    const pid_t pid = ::fork();
    if (pid == 0) ::_exit(::unshare(static_cast<int>(kind.flag)) == 0 ? 0 : 1);
    int status = 1;
    if (pid > 0) ::waitpid(pid, &status, 0);
    if (pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0)
      return open_door(std::string("unshare: a new ") + kind.name + " namespace");
  }
  return blocked_text("clone and unshare refuse mount, pid, network, uts, ipc, cgroup and time namespaces");
}

Seen set_namespace(const std::string&) {
  const std::string path = "/proc/" + std::to_string(target) + "/ns/mnt";
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  // The agent's are out of reach; our own are the next best thing to give to setns(2).
  const int own = fd >= 0 ? fd : ::open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
  if (own < 0) return blocked("open /proc/self/ns/mnt");
  return verdict(::setns(own, 0), "setns(mount namespace)");
}
Seen set_namespace_by_pidfd(const std::string&) {
  const long fd = ::syscall(434, target, 0);
  if (fd < 0) return blocked("pidfd_open");
  return verdict(::setns(static_cast<int>(fd), CLONE_NEWUTS), "setns(pidfd)");
}

#if defined(__x86_64__)
long int80(long number, long a, long b, long c) {
  long result;
  __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory", "r8", "r9", "r10", "r11");
  return result;
}
Seen foreign_int80(const std::string&) {
  return in_child([] {
    const long r = int80(20 /* getpid */, 0, 0, 0);
    if (r > 0) return open_door("int 0x80 getpid answered");
    errno = static_cast<int>(-r);
    return blocked("int 0x80");
  });
}
Seen foreign_int80_unshare(const std::string&) {
  return in_child([] {
    const long r = int80(310 /* unshare */, CLONE_NEWUSER, 0, 0);
    if (r >= 0) return open_door("int 0x80 unshare(CLONE_NEWUSER) worked");
    errno = static_cast<int>(-r);
    return blocked("int 0x80 unshare");
  });
}
Seen foreign_x32(const std::string&) {
  return in_child([] { return verdict(::syscall(0x40000000 | 39 /* getpid */), "x32 getpid"); });
}
#endif

constexpr Attempt kAttempts[] = {
    {"capabilities", capabilities},
    {"capset", raise_capability, Control::never, "outside they are what they are; identity is read instead"},
    {"no_new_privs", no_new_privs},
    {"seccomp", seccomp_mode},
    {"setuid_file", setuid_file},
    {"setuid_mounts", setuid_mounts},
    {"setgroups", setgroups_door},
    {"unshare_user", unshare_user},
    {"clone_user", clone_user},
    {"clone3_user", clone3_user},
    {"other_namespaces", other_namespaces},
    {"setns", set_namespace},
    {"setns_pidfd", set_namespace_by_pidfd},
#if defined(__x86_64__)
    {"int80", foreign_int80},
    {"int80_unshare", foreign_int80_unshare},
    {"x32", foreign_x32},
#endif
};

}  // namespace

std::span<const Attempt> identity_attempts() { return kAttempts; }

}  // namespace probe
