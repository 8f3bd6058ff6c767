#include "agent/children.hpp"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

namespace sandbox::agent {
namespace {

/// What kill_all() needs of /proc/PID/stat.
struct ProcessInfo {
  pid_t pid = 0;
  char state = 0;
  pid_t parent = 0, group = 0, session = 0;
  std::uint64_t started = 0;
};

/// Reads a small file below /proc. Returns the bytes read into `buffer`.
std::string_view read_small(const char* path, char* buffer, std::size_t size) {
  const core::UniqueFd file(::open(path, O_RDONLY | O_CLOEXEC));
  if (!file) return {};
  const ssize_t count = ::read(file.get(), buffer, size);
  return count > 0 ? std::string_view(buffer, static_cast<std::size_t>(count)) : std::string_view();
}

/// The fields after the program's name, which may itself contain spaces and parentheses (proc_pid_stat(5)).
bool parse_stat(std::string_view text, ProcessInfo& info) {
  const auto name_end = text.rfind(')');
  if (name_end == text.npos || name_end + 2 >= text.size()) return false;
  const char* at = text.data() + name_end + 2;
  const char* const end = text.data() + text.size();
  info.state = *at++;
  for (int field = 4; field <= 22; ++field) {
    while (at < end && *at == ' ') ++at;
    long long value = 0;
    const auto [next, error] = std::from_chars(at, end, value);
    if (error != std::errc()) return false;
    at = next;
    if (field == 4) info.parent = static_cast<pid_t>(value);
    else if (field == 5) info.group = static_cast<pid_t>(value);
    else if (field == 6) info.session = static_cast<pid_t>(value);
    else if (field == 22) info.started = static_cast<std::uint64_t>(value);
  }
  return true;
}

/// All live processes this agent can see, sorted by pid.
std::vector<ProcessInfo> list_processes() {
  std::vector<ProcessInfo> processes;
  const std::unique_ptr<DIR, int (*)(DIR*)> proc(::opendir("/proc"), &::closedir);
  if (!proc) return processes;
  char path[64], buffer[1024];
  while (const dirent* entry = ::readdir(proc.get())) {
    ProcessInfo info;
    const std::string_view name(entry->d_name);
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), info.pid);
    if (error != std::errc() || end != name.data() + name.size()) continue;
    ::snprintf(path, sizeof path, "/proc/%d/stat", info.pid);
    if (parse_stat(read_small(path, buffer, sizeof buffer), info)) processes.push_back(info);
  }
  std::sort(processes.begin(), processes.end(), [](const auto& a, const auto& b) { return a.pid < b.pid; });
  return processes;
}

const ProcessInfo* find_process(const std::vector<ProcessInfo>& processes, pid_t pid) {
  const auto found = std::lower_bound(processes.begin(), processes.end(), pid,
                                      [](const ProcessInfo& info, pid_t wanted) { return info.pid < wanted; });
  return found != processes.end() && found->pid == pid ? &*found : nullptr;
}

/// The soft RLIMIT_LOCKS of a process; 0 when it is not a number. From /proc, which anybody may read: prlimit(2) on
/// another process is a privilege that the sandbox's filter refuses.
std::uint64_t mark_of(pid_t pid) {
  char path[64], buffer[2048];
  ::snprintf(path, sizeof path, "/proc/%d/limits", pid);
  const std::string_view text = read_small(path, buffer, sizeof buffer);
  constexpr std::string_view kName = "\nMax file locks";
  const auto line = text.find(kName);
  const auto digits = line == text.npos ? line : text.find_first_not_of(' ', line + kName.size());
  std::uint64_t value = 0;
  if (digits != text.npos) std::from_chars(text.data() + digits, text.data() + text.size(), value);
  return value;
}

bool dead(const ProcessInfo& info) { return info.state == 'Z' || info.state == 'X'; }

}  // namespace

Children::Children(Loop& loop, core::UniqueFd score) : loop_(loop), score_(std::move(score)) {
  // Orphans come to us, so that they are reaped and found by kill_all(). Process 1 has that anyway.
  ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  sigset_t pipe_set;
  sigemptyset(&pipe_set);
  sigaddset(&pipe_set, SIGPIPE);   // a program that closed its stdin is an EPIPE to us, not our end
  ::sigprocmask(SIG_BLOCK, &pipe_set, nullptr);
  signals_.reset(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  loop_.watch(signals_.get(), EPOLLIN, [this](std::uint32_t) {
         signalfd_siginfo info;
         // One record stands for all children that ended; reap() looks for every one.
         (void)!::read(signals_.get(), &info, sizeof info);
         reap();
       })
      .ignore("without a signalfd nothing works, and the first exec says so");

  // Only the soft limit carries marks: the hard one could not be raised again.
  rlimit locks{};
  if (::prlimit(0, RLIMIT_LOCKS, nullptr, &locks) == 0 && locks.rlim_max > kFirstMark * 2) mark_limit_ = locks.rlim_max;

  if (!score_) score_.reset(::open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC));
  if (!score_) return;
  char buffer[32];
  const ssize_t count = ::pread(score_.get(), buffer, sizeof buffer, 0);
  if (count > 0) std::from_chars(buffer, buffer + count, own_score_);
  // Lowering needs no privilege as long as nobody with CAP_SYS_RESOURCE set a floor above our value (fs/proc/base.c,
  // oom_score_adj_min). Where it does not work the agent would stay at a victim's score.
  if (own_score_ >= kProgramScore || !write_score(kProgramScore) || !write_score(own_score_)) {
    write_score(own_score_);
    score_.reset();
  }
}

Children::~Children() {
  if (sweep_slice_ != 0) {
    loop_.cancel_slice(sweep_slice_);
    sweep();
  }
  loop_.unwatch(signals_.get());
}

bool Children::write_score(int value) noexcept {
  char text[16];
  const auto [end, error] = std::to_chars(text, text + sizeof text, value);
  (void)error;
  return ::pwrite(score_.get(), text, static_cast<std::size_t>(end - text), 0) > 0;
}

void Children::add(pid_t pid, ChildListener* listener) { listeners_[pid] = listener; }
void Children::forget(pid_t pid) { listeners_.erase(pid); }

void Children::reap() {
  for (;;) {
    int status = 0;
    rusage usage{};
    const pid_t pid = ::wait4(-1, &status, WNOHANG, &usage);
    if (pid <= 0) return;
    const auto found = listeners_.find(pid);
    if (found == listeners_.end()) continue;
    ChildListener* listener = found->second;
    listeners_.erase(found);
    listener->on_exit(status, usage);
  }
}

void Children::offer_to_oom_killer() noexcept {
  if (score_) write_score(kProgramScore);
}

void Children::leave_oom_killer() noexcept {
  if (score_) write_score(own_score_);
}

void Children::kill_all(const Lineage& lineage) {
  // The whole group at once: a fork bomb cannot outrun this (fork checks for pending signals under the same lock).
  if (!lineage.leader_reaped) ::kill(-lineage.leader, SIGKILL);
  doomed_.push_back(lineage);
  if (sweep_slice_ != 0) return;
  sweep_slice_ = loop_.defer([this] {
    sweep_slice_ = 0;
    sweep();
  });
}

void Children::sweep() {
  const auto doomed = std::exchange(doomed_, {});
  std::unordered_map<pid_t, const Lineage*> by_leader;
  std::unordered_map<std::uint64_t, const Lineage*> by_mark;
  for (const auto& lineage : doomed) {
    // After its end the leader's number may have become that of a newer exec: then it says nothing about this one.
    if (!lineage.leader_reaped || !listeners_.contains(lineage.leader)) by_leader.emplace(lineage.leader, &lineage);
    if (lineage.mark) by_mark.emplace(lineage.mark, &lineage);
  }
  const auto led = [&](pid_t leader, const ProcessInfo& process) {
    const auto found = by_leader.find(leader);
    return found != by_leader.end() && process.started >= found->second->started;
  };

  const pid_t self = ::getpid();
  std::unordered_set<pid_t> victims;
  // Each pass kills what the previous one's victims started before they died; the last one finds nothing new.
  for (int pass = 0; pass < 16; ++pass) {
    const auto processes = list_processes();
    bool found = false;
    for (const auto& process : processes) {
      if (dead(process)) continue;
      // Up the tree to the agent: everything below it is ours, everything else is none of our business.
      bool ours = false;
      const ProcessInfo* at = &process;
      for (int depth = 0; at && depth < 4096; ++depth) {
        ours = ours || led(at->session, *at) || led(at->group, *at);
        if (at->parent == self) break;
        at = find_process(processes, at->parent);
      }
      if (!at || at->parent != self) continue;
      if (!ours && !by_mark.empty() && !listeners_.contains(at->pid)) ours = by_mark.contains(mark_of(at->pid));
      if (ours && !victims.contains(process.pid) && ::kill(process.pid, SIGKILL) == 0) {
        victims.insert(process.pid);
        found = true;
      }
    }
    if (!found) return;
  }
  // Something multiplies as fast as it dies. Others get their turn before the next round.
  for (const auto& lineage : doomed) kill_all(lineage);
}

void Children::kill_descendants() {
  const pid_t self = ::getpid();
  std::unordered_set<pid_t> victims;
  for (int pass = 0; pass < 16; ++pass) {
    const auto processes = list_processes();
    std::size_t found = 0;
    for (const auto& process : processes) {
      if (dead(process) || process.pid == self) continue;
      const ProcessInfo* at = &process;
      for (int depth = 0; at && at->parent != self && depth < 4096; ++depth) at = find_process(processes, at->parent);
      if (!at || at->parent != self || victims.contains(process.pid) || ::kill(process.pid, SIGKILL) != 0) continue;
      victims.insert(process.pid);
      ++found;
    }
    if (found == 0) break;
  }
}

std::uint64_t Children::now_ticks() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  // /proc counts in USER_HZ, which is 100 on every architecture Linux still has except alpha and ia64.
  return static_cast<std::uint64_t>(now.tv_sec) * 100 + static_cast<std::uint64_t>(now.tv_nsec) / 10'000'000;
}

}  // namespace sandbox::agent
