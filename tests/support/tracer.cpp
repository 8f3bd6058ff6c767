#include "support/tracer.hpp"

#include <elf.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <utility>

namespace sandbox::testing {
namespace {

#if defined(__x86_64__)
constexpr unsigned char kTrap[] = {0xcc}, kNothing[] = {0x90};
#else
constexpr unsigned char kTrap[] = {0x00, 0x00, 0x20, 0xd4}, kNothing[] = {0x1f, 0x20, 0x03, 0xd5};
#endif

long trace(int request, pid_t task, void* address, void* data) {
  return ::ptrace(static_cast<__ptrace_request>(request), task, address, data);
}
void* word(std::uint64_t value) { return reinterpret_cast<void*>(value); }

/// The address of the breakpoint `task` has just run into: the trap is the instruction before, or still this one.
std::uint64_t trap_address(pid_t task) {
  user_regs_struct registers{};
  iovec area{&registers, sizeof registers};
  if (trace(PTRACE_GETREGSET, task, word(NT_PRSTATUS), &area) != 0) return 0;
#if defined(__x86_64__)
  return registers.rip - sizeof kTrap;
#else
  return registers.pc;
#endif
}

/// Goes on behind the trap, which stands where nothing is done.
void step_over([[maybe_unused]] pid_t task) {
#if defined(__aarch64__)
  user_regs_struct registers{};
  iovec area{&registers, sizeof registers};
  trace(PTRACE_GETREGSET, task, word(NT_PRSTATUS), &area);
  registers.pc += sizeof kTrap;
  trace(PTRACE_SETREGSET, task, word(NT_PRSTATUS), &area);
#endif
}

/// At the entry of a call: it shall not happen.
void skip_call(pid_t task) {
#if defined(__x86_64__)
  trace(PTRACE_POKEUSER, task, word(offsetof(user_regs_struct, orig_rax)), word(~std::uint64_t{0}));
#else
  int none = -1;
  iovec area{&none, sizeof none};
  trace(PTRACE_SETREGSET, task, word(NT_ARM_SYSTEM_CALL), &area);
#endif
}

void set_result(pid_t task, std::int64_t value) {
#if defined(__x86_64__)
  trace(PTRACE_POKEUSER, task, word(offsetof(user_regs_struct, rax)), word(static_cast<std::uint64_t>(value)));
#else
  user_regs_struct registers{};
  iovec area{&registers, sizeof registers};
  trace(PTRACE_GETREGSET, task, word(NT_PRSTATUS), &area);
  registers.regs[0] = static_cast<std::uint64_t>(value);
  trace(PTRACE_SETREGSET, task, word(NT_PRSTATUS), &area);
#endif
}

std::string proc(pid_t task, const char* name) { return "/proc/" + std::to_string(task) + "/" + name; }

/// Base name of what `process` executes; a sealed copy in memory has the name of its original.
std::string program_of(pid_t process) {
  char path[4096];
  const ssize_t size = ::readlink(proc(process, "exe").c_str(), path, sizeof path);
  std::string name(path, size > 0 ? static_cast<std::size_t>(size) : 0);
  name.erase(0, name.rfind('/') + 1);
  if (const auto deleted = name.find(" (deleted)"); deleted != name.npos) name.resize(deleted);
  return name.starts_with("memfd:") ? name.substr(6) : name;
}

pid_t process_of(pid_t task) {
  std::ifstream status(proc(task, "status"));
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("Tgid:")) return static_cast<pid_t>(std::stol(line.substr(5)));
  return task;
}

/// Where the first byte of the program's file is mapped. Programs are position-independent and linked at 0.
std::uint64_t base_of(pid_t process) {
  std::ifstream maps(proc(process, "maps"));
  char exe[4096];
  const ssize_t size = ::readlink(proc(process, "exe").c_str(), exe, sizeof exe);
  const std::string path(exe, size > 0 ? static_cast<std::size_t>(size) : 0);
  for (std::string line; std::getline(maps, line);) {
    std::istringstream words(line);
    std::string range, rights, offset;
    words >> range >> rights >> offset;
    if (line.ends_with(path) && std::stoull(offset, nullptr, 16) == 0) return std::stoull(range, nullptr, 16);
  }
  return 0;
}

void write_memory(pid_t process, std::uint64_t address, const unsigned char* bytes, std::size_t size) {
  const int memory = ::open(proc(process, "mem").c_str(), O_RDWR | O_CLOEXEC);
  if (memory < 0) return;
  (void)!::pwrite(memory, bytes, size, static_cast<off_t>(address));  // a process that has ended has no memory
  ::close(memory);
}

}  // namespace

Tracer::Tracer(std::set<std::string> programs) : programs_(std::move(programs)) {
  sigset_t children;
  ::sigemptyset(&children);
  ::sigaddset(&children, SIGCHLD);
  ::sigprocmask(SIG_BLOCK, &children, nullptr);
}

Tracer::~Tracer() { detach(); }

std::string Tracer::unavailable() {
#if !defined(__x86_64__) && !defined(__aarch64__)
  return "no breakpoints on this architecture";
#endif
  const pid_t child = ::fork();
  if (child == 0) {
    ::pause();
    ::_exit(0);
  }
  const bool refused = trace(PTRACE_SEIZE, child, nullptr, nullptr) != 0;
  const int number = errno;
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, __WALL);
  return refused ? std::string("tracing is not permitted here: ") + std::strerror(number) : std::string();
}

void Tracer::break_at(const std::string& program, std::vector<std::uint64_t> addresses) { breakpoints_[program] = std::move(addresses); }

void Tracer::stop_at_system_calls(std::set<std::string> programs) { calls_of_ = std::move(programs); }

pid_t Tracer::start(const std::vector<std::string>& argv, const std::string& output, int input) {
  int gate[2];
  if (::pipe2(gate, O_CLOEXEC) != 0) throw std::runtime_error("pipe");
  std::vector<char*> raw;
  for (const auto& argument : argv) raw.push_back(const_cast<char*>(argument.c_str()));
  raw.push_back(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    const int out = ::open(output.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    char byte;
    ::personality(ADDR_NO_RANDOMIZE);
    if (input >= 0) ::dup2(input, 0);
    if (out < 0 || ::dup2(out, 1) < 0 || ::dup2(out, 2) < 0 || ::read(gate[0], &byte, 1) != 1) ::_exit(126);
    ::execv(raw[0], raw.data());
    ::_exit(127);
  }
  ::close(gate[0]);
  constexpr std::uint64_t kOptions = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE |
                                     PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;
  if (child < 0 || trace(PTRACE_SEIZE, child, nullptr, word(kOptions)) != 0) throw std::runtime_error("cannot trace " + argv.front());
  tasks_[child].process = child;
  processes_[child] = {"", ::getpid(), ++order_, {}, 0};
  if (::write(gate[1], "x", 1) != 1) throw std::runtime_error("pipe");
  ::close(gate[1]);
  return child;
}

/// A new task, met first here or at its parent's event, whichever comes first.
void Tracer::learn(pid_t task, pid_t from, bool same_process) {
  const auto [entry, fresh] = tasks_.try_emplace(task);
  if (!fresh && entry->second.process != 0) return;
  entry->second.process = same_process ? tasks_[from].process : task;
  if (same_process || processes_.contains(task)) return;
  const auto parent = processes_.find(tasks_[from].process);
  Process child;
  if (parent != processes_.end()) child = {parent->second.program + "+", parent->first, 0, parent->second.planted, parent->second.base};
  child.order = ++order_;
  processes_[task] = std::move(child);
}

void Tracer::plant(pid_t process, const std::string& program) {
  Process& entry = processes_[process];
  entry.program = program;
  entry.planted.clear();
  const auto wanted = breakpoints_.find(program);
  if (wanted == breakpoints_.end()) return;
  const std::uint64_t base = entry.base = base_of(process);
  for (const std::uint64_t address : wanted->second) {
    write_memory(process, base + address, kTrap, sizeof kTrap);
    entry.planted.push_back(base + address);
  }
}

void Tracer::executed(pid_t task) {
  const pid_t process = task;  // exec leaves one task, which has the process's number
  std::erase_if(tasks_, [&](const auto& other) { return other.second.process == process && other.first != task; });
  tasks_[task].process = process;
  const std::string program = program_of(process);
  if (programs_.contains(program)) {
    plant(process, program);
    go_on(task);
  } else {
    processes_.erase(process);
    tasks_.erase(task);
    trace(PTRACE_DETACH, task, nullptr, nullptr);
  }
}

void Tracer::go_on(pid_t task, int signal) {
  const auto found = tasks_.find(task);
  if (found == tasks_.end()) return;
  found->second.stopped = false;
  const auto process = processes_.find(found->second.process);
  const bool calls = process != processes_.end() && calls_of_.contains(process->second.program);
  trace(calls || found->second.in_call ? PTRACE_SYSCALL : PTRACE_CONT, task, nullptr, word(static_cast<std::uint64_t>(signal)));
}

void Tracer::forget(pid_t task) {
  const auto found = tasks_.find(task);
  if (found == tasks_.end()) return;
  const pid_t process = found->second.process;
  tasks_.erase(found);
  if (std::none_of(tasks_.begin(), tasks_.end(), [&](const auto& other) { return other.second.process == process; })) processes_.erase(process);
}

/// What one report of wait(2) means. Whatever is of no interest goes on at once.
std::optional<Tracer::Stop> Tracer::digest(pid_t task, int status) {
  if (WIFEXITED(status) || WIFSIGNALED(status)) {
    ends_[task] = status;
    const auto found = tasks_.find(task);
    Stop stop{Why::ended, found != tasks_.end() ? found->second.process : task, task, {}};
    if (const auto process = processes_.find(stop.process); process != processes_.end()) stop.program = process->second.program;
    stop.status = status;
    forget(task);
    if (task != stop.process) return std::nullopt;  // only a thread
    return stop;
  }
  if (!WIFSTOPPED(status)) return std::nullopt;
  if (!tasks_.contains(task)) {
    const pid_t process = process_of(task);
    tasks_[task].process = process != task ? process : 0;  // 0: its parent's event says whose child it is
  }
  Task& entry = tasks_[task];
  entry.stopped = true;
  const int signal = WSTOPSIG(status), event = status >> 16;
  switch (event) {
    case PTRACE_EVENT_FORK:
    case PTRACE_EVENT_VFORK:
    case PTRACE_EVENT_CLONE: {
      unsigned long child = 0;
      trace(PTRACE_GETEVENTMSG, task, nullptr, &child);
      learn(static_cast<pid_t>(child), task, process_of(static_cast<pid_t>(child)) == entry.process);
      go_on(task);
      // It may have stopped before we knew it.
      if (tasks_[static_cast<pid_t>(child)].stopped) go_on(static_cast<pid_t>(child));
      return std::nullopt;
    }
    case PTRACE_EVENT_EXEC: executed(task); return std::nullopt;
    case PTRACE_EVENT_STOP:
      if (entry.process == 0) return std::nullopt;  // waits for its parent's event
      if (signal == SIGTRAP) go_on(task);
      else trace(PTRACE_LISTEN, task, nullptr, nullptr);
      return std::nullopt;
    default: break;
  }
  const auto process = processes_.find(entry.process);
  Stop stop{Why::breakpoint, entry.process, task, process != processes_.end() ? process->second.program : std::string()};
  if (signal == (SIGTRAP | 0x80)) {
    __ptrace_syscall_info info{};
    trace(PTRACE_GET_SYSCALL_INFO, task, word(sizeof info), &info);
    entry.in_call = info.op == PTRACE_SYSCALL_INFO_ENTRY;
    if (entry.in_call) {
      stop.why = Why::call;
      stop.call = info.entry.nr;
      stop.site = std::to_string(info.entry.nr) + "@" + std::to_string(info.instruction_pointer) + "," + std::to_string(info.stack_pointer);
      std::copy(std::begin(info.entry.args), std::end(info.entry.args), stop.arguments);
    } else {
      stop.why = Why::call_return;
      if (entry.fail_with != 0) set_result(task, -std::exchange(entry.fail_with, 0));
      stop.result = info.exit.rval;
    }
    return stop;
  }
  if (signal == SIGTRAP && process != processes_.end()) {
    const std::uint64_t at = trap_address(task);
    const auto& planted = process->second.planted;
    if (std::find(planted.begin(), planted.end(), at) != planted.end()) {
      step_over(task);
      stop.address = at - process->second.base;
      return stop;
    }
  }
  go_on(task, signal);
  return std::nullopt;
}

std::optional<Tracer::Stop> Tracer::next(Clock::time_point deadline) {
  for (;;) {
    int status = 0;
    const pid_t task = ::waitpid(-1, &status, __WALL | WNOHANG);
    if (task > 0) {
      if (auto stop = digest(task, status)) return stop;
      continue;
    }
    const auto left = deadline - Clock::now();
    if (left <= left.zero()) return std::nullopt;
    sigset_t children;
    ::sigemptyset(&children);
    ::sigaddset(&children, SIGCHLD);
    const auto bounded = std::min<std::chrono::nanoseconds>(left, std::chrono::milliseconds(50));
    const timespec patience{0, static_cast<long>(bounded.count())};
    ::sigtimedwait(&children, nullptr, &patience);
  }
}

void Tracer::resume(const Stop& stop) {
  if (stop.why != Why::ended) go_on(stop.task);
}

void Tracer::fail_call(const Stop& stop, int number) {
  if (stop.call != SYS_close) skip_call(stop.task);
  tasks_[stop.task].fail_with = number;
}

std::vector<pid_t> Tracer::processes(const std::string& program) const {
  std::vector<std::pair<std::uint64_t, pid_t>> found;
  for (const auto& [pid, process] : processes_)
    if (process.program == program) found.emplace_back(process.order, pid);
  std::sort(found.begin(), found.end());
  std::vector<pid_t> pids;
  for (const auto& [order, pid] : found) pids.push_back(pid);
  return pids;
}

pid_t Tracer::parent(pid_t process) const {
  const auto found = processes_.find(process);
  return found != processes_.end() ? found->second.parent : 0;
}

void Tracer::kill(pid_t process) {
  ::kill(process, SIGKILL);
  const auto end = Clock::now() + std::chrono::seconds(5);
  // Its end is reported like any other; what else is reported meanwhile stays stopped until detach().
  while (processes_.contains(process) && Clock::now() < end) {
    int status = 0;
    const pid_t task = ::waitpid(-1, &status, __WALL | WNOHANG);
    if (task > 0) {
      if (const auto stop = digest(task, status); stop && stop->why != Why::ended && stop->process != process) continue;
    } else {
      ::usleep(100);  // polling interval
    }
  }
}

void Tracer::remove_breakpoints() {
  for (auto& [pid, process] : processes_) {
    for (const std::uint64_t address : process.planted) write_memory(pid, address, kNothing, sizeof kNothing);
    process.planted.clear();
  }
  breakpoints_.clear();
  calls_of_.clear();
}

/// A stopped task goes on without us.
void Tracer::let_go(pid_t task, int signal) {
  if (auto& entry = tasks_[task]; entry.fail_with != 0) {  // a call was on its way to fail: it must not end as ENOSYS
    go_on(task);
    entry.stopped = false;
    int status = 0;
    if (::waitpid(task, &status, __WALL) == task && WIFSTOPPED(status)) set_result(task, -entry.fail_with);
  }
  trace(PTRACE_DETACH, task, nullptr, word(static_cast<std::uint64_t>(signal)));
  forget(task);
}

void Tracer::detach() {
  // Whoever ran into a trap a moment ago has passed it already; from now on nobody does.
  const auto planted = processes_;
  remove_breakpoints();
  const auto is_trap = [&](pid_t process, std::uint64_t at) {
    const auto found = planted.find(process);
    return found != planted.end() && std::find(found->second.planted.begin(), found->second.planted.end(), at) != found->second.planted.end();
  };
  for (const auto end = Clock::now() + std::chrono::seconds(5); !tasks_.empty() && Clock::now() < end;) {
    std::vector<pid_t> stopped, gone;
    for (auto& [task, entry] : tasks_) {
      if (entry.stopped) stopped.push_back(task);
      else if (trace(PTRACE_INTERRUPT, task, nullptr, nullptr) != 0 && errno == ESRCH) gone.push_back(task);
    }
    for (const pid_t task : stopped) let_go(task, 0);
    for (const pid_t task : gone) forget(task);  // let go of before its parent's event named it, or dead
    int status = 0;
    const pid_t task = ::waitpid(-1, &status, __WALL | WNOHANG);
    if (task <= 0) {
      ::usleep(100);  // polling interval
      continue;
    }
    if (WIFEXITED(status) || WIFSIGNALED(status)) {
      ends_[task] = status;
      forget(task);
      continue;
    }
    if (!WIFSTOPPED(status)) continue;
    const int signal = WSTOPSIG(status), event = status >> 16;
    if (event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_VFORK || event == PTRACE_EVENT_CLONE) {
      unsigned long child = 0;
      trace(PTRACE_GETEVENTMSG, task, nullptr, &child);
      if (child != 0) tasks_[static_cast<pid_t>(child)].process = static_cast<pid_t>(child);
    }
    int deliver = event != 0 || signal == (SIGTRAP | 0x80) ? 0 : signal;
    if (deliver == SIGTRAP && is_trap(process_of(task), trap_address(task))) {
      step_over(task);
      deliver = 0;
    }
    trace(PTRACE_DETACH, task, nullptr, word(static_cast<std::uint64_t>(deliver)));
    forget(task);
  }
  for (const auto& [task, entry] : tasks_) ::kill(task, SIGKILL);  // cannot be reached: its memory may still hold a trap
  tasks_.clear();
  processes_.clear();
}

}  // namespace sandbox::testing
