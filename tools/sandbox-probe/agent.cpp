// Process 1 of a sandbox is the agent, which holds the stream to the host. In a control run it is an ordinary process.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "probe.hpp"

namespace probe {
namespace {

std::string of_target(const char* name) { return "/proc/" + std::to_string(target) + "/" + name; }

Seen trace(const std::string&) { return verdict(::ptrace(PTRACE_SEIZE, target, 0, 0), "ptrace(SEIZE)"); }
Seen trace_own_child(const std::string&) {
  const pid_t child = ::fork();
  if (child == 0)
    for (;;) ::pause();
  const long result = ::ptrace(PTRACE_SEIZE, child, 0, 0);
  const int why = errno;
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  errno = why;
  return verdict(result, "ptrace of an own child");
}
Seen read_memory(const std::string&) {
  char piece[8];
  iovec local{piece, sizeof piece}, remote{reinterpret_cast<void*>(0x1000), sizeof piece};
  const long size = ::syscall(310, target, &local, 1, &remote, 1, 0);
  if (size < 0 && errno == EFAULT) return open_door("process_vm_readv reached the other's memory");
  return verdict(size, "process_vm_readv");
}
Seen write_memory(const std::string&) {
  char piece[8] = {};
  iovec local{piece, sizeof piece}, remote{reinterpret_cast<void*>(0x1000), sizeof piece};
  const long size = ::syscall(311, target, &local, 1, &remote, 1, 0);
  if (size < 0 && errno == EFAULT) return open_door("process_vm_writev reached the other's memory");
  return verdict(size, "process_vm_writev");
}
Seen take_descriptor(const std::string&) {
  const long fd = ::syscall(434, target, 0);
  if (fd < 0) return blocked("pidfd_open");
  for (int theirs = 0; theirs < 16; ++theirs)
    if (::syscall(438, fd, theirs, 0) >= 0) return open_door("pidfd_getfd took descriptor " + std::to_string(theirs));
  return blocked("pidfd_getfd(0…15)");
}
Seen compare(const std::string&) { return verdict(::syscall(312, ::getpid(), target, 1 /* VM */, 0, 0), "kcmp"); }
Seen memory_file(const std::string&) { return opens(of_target("mem").c_str(), O_RDWR); }
Seen program_file(const std::string&) {
  // Writing to a running program fails with ETXTBSY only after permission was given.
  const int fd = ::open(of_target("exe").c_str(), O_WRONLY | O_CLOEXEC);
  if (fd >= 0 || errno == ETXTBSY) return open_door("open /proc/…/exe for writing was permitted");
  const int seen = errno;
  const int read_only = ::open(of_target("exe").c_str(), O_RDONLY | O_CLOEXEC);
  if (read_only >= 0) return open_door("open /proc/…/exe for reading worked");
  errno = seen;
  return blocked("open /proc/…/exe");
}
/// Without root on the host the directory may be listed, which tells numbers; what they stand for must stay out of reach.
Seen descriptors(const std::string&) {
  DIR* directory = ::opendir(of_target("fd").c_str());
  if (!directory) return blocked("open /proc/…/fd");
  int count = 0;
  while (const dirent* entry = ::readdir(directory)) {
    if (entry->d_name[0] == '.') continue;
    ++count;
    char place[256];
    const std::string path = of_target("fd/") + entry->d_name;
    if (::readlink(path.c_str(), place, sizeof place) >= 0) return ::closedir(directory), open_door(path + " tells what it is");
    const int fd = ::open(path.c_str(), O_PATH | O_CLOEXEC);
    if (fd >= 0) return ::closedir(directory), open_door(path + " was opened");
  }
  ::closedir(directory);
  return blocked_text(std::to_string(count) + " numbers are listed, none can be opened or read");
}
Seen root(const std::string&) { return opens(of_target("root/.").c_str(), O_PATH); }
Seen working_directory(const std::string&) { return opens(of_target("cwd/.").c_str(), O_PATH); }
Seen environment(const std::string&) {
  const std::string text = read_text(of_target("environ").c_str());
  return text.empty() ? blocked_text("the other's environment shows nothing") : open_door("the other's environment can be read");
}
Seen memory_map(const std::string&) {
  const std::string text = read_text(of_target("maps").c_str());
  return text.empty() ? blocked_text("the other's memory map shows nothing") : open_door("the other's memory map can be read");
}
/// In a control run the target is an ordinary process, which stops.
Seen stop(const std::string&) {
  ::kill(target, SIGSTOP);
  if (!outside) {
    ::kill(target, SIGKILL);
    ::kill(target, SIGTERM);
    ::kill(target, SIGSEGV);
  }
  char state = '?';
  for (int i = 0; i < 20; ++i) {
    const std::string text = read_text(of_target("stat").c_str());
    const std::size_t at = text.rfind(") ");
    if (at == text.npos) return open_door("the process is gone");
    state = text[at + 2];
    if (state == 'T' || state == 'Z') break;
    const timespec moment{0, 1'000'000};
    ::nanosleep(&moment, nullptr);
  }
  if (outside) ::kill(target, SIGCONT);
  return state == 'T' || state == 'Z' ? open_door("the process stopped") : blocked_text("process 1 takes no signal from inside");
}
Seen lower_limits(const std::string&) {
  const rlimit limit{4096, 4096};
  return verdict(::syscall(302, target, RLIMIT_CORE, &limit, nullptr), "prlimit of another process");
}
/// What /proc lets its owner change of a process: which one is killed when memory runs out, and more.
Seen settings(const std::string&) {
  for (const char* name :
       {"oom_score_adj", "timerslack_ns", "coredump_filter", "comm", "autogroup", "clear_refs", "sched", "attr/current", "uid_map"}) {
    const Seen seen = opens(of_target(name).c_str(), O_WRONLY);
    if (seen.verdict == Verdict::open) return seen;
  }
  return blocked_text("oom_score_adj and eight more of process 1 do not open for writing");
}
Seen slow_down(const std::string&) {
  return verdict(::setpriority(PRIO_PROCESS, static_cast<id_t>(target), 19), "setpriority of another process");
}
Seen reschedule(const std::string&) {
  const sched_param none{};
  if (::syscall(SYS_sched_setscheduler, target, 5 /* IDLE */, &none) == 0) return open_door("another process is scheduled when idle only");
  const std::string first = ::strerror(errno);
  unsigned long one = 1;
  if (::syscall(SYS_sched_setaffinity, target, sizeof one, &one) == 0) return open_door("another process was bound to one CPU");
  if (::syscall(SYS_ioprio_set, 1, target, 3 << 13) == 0) return open_door("another process got the idle class of I/O");
  if (::setpriority(PRIO_USER, 0, 19) == 0) return open_door("everybody's nice value was changed");
  return blocked_text("SCHED_IDLE, affinity, I/O class and nice value for process 1: " + first);
}
/// A sandbox sees itself: process 1 is the agent, and everybody else descends from it.
Seen other_processes(const std::string&) {
  const std::string name = read_text("/proc/1/comm");
  DIR* directory = ::opendir("/proc");
  if (!directory) return skipped("no /proc");
  int count = 0, highest = 0;
  while (const dirent* entry = ::readdir(directory))
    if (const int pid = ::atoi(entry->d_name); pid > 0) ++count, highest = pid > highest ? pid : highest;
  ::closedir(directory);
  if (name.find("sandbox-agent") == name.npos && name.find("memfd") == name.npos && name != "3\n")
    return open_door("process 1 is " + name.substr(0, name.size() - 1));
  return blocked_text("process 1 is the agent; " + std::to_string(count) + " processes, all of this sandbox");
}

constexpr Attempt kAttempts[] = {
    {"agent_ptrace", trace},
    {"own_ptrace", trace_own_child},
    {"agent_read_memory", read_memory},
    {"agent_write_memory", write_memory},
    {"agent_take_descriptor", take_descriptor},
    {"agent_compare", compare},
    {"agent_mem", memory_file},
    {"agent_exe", program_file},
    {"agent_fd", descriptors},
    {"agent_root", root},
    {"agent_cwd", working_directory},
    {"agent_environ", environment},
    {"agent_maps", memory_map},
    {"agent_stop", stop},
    {"agent_prlimit", lower_limits},
    {"agent_nice", slow_down},
    {"agent_schedule", reschedule},
    {"agent_settings", settings},
    {"other_processes", other_processes},
};

}  // namespace

std::span<const Attempt> agent_attempts() { return kAttempts; }

}  // namespace probe
