#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <sys/types.h>

/// A small debugger: follows a program and what it starts (launchers, agents) with ptrace(2), stops them at sync points or
/// system calls, makes system calls fail, and lets go of everything. The programs are the ones that ship, unchanged.
namespace sandbox::testing {

class Tracer {
 public:
  using Clock = std::chrono::steady_clock;

  /// Follows programs of these base names; others (what runs inside a sandbox) are let go of as soon as they are executed.
  /// Blocks SIGCHLD of the calling thread, which must be the only one that traces and waits. Linux on x86-64 and arm64.
  explicit Tracer(std::set<std::string> programs);
  /// Lets go of what is still traced.
  ~Tracer();
  Tracer(const Tracer&) = delete;

  /// Whether this machine lets us trace; the reason where not.
  static std::string unavailable();

  /// Stops where `program` (a base name) reaches one of these addresses, as linked. Before it is executed.
  void break_at(const std::string& program, std::vector<std::uint64_t> addresses);
  /// Stops at every entry to and return from a system call of these programs from now on; "NAME+" is a child of NAME that
  /// has not executed anything yet.
  void stop_at_system_calls(std::set<std::string> programs);

  /// Starts argv[0], traced, with standard output in `output` (appended) and standard input from `input`, without address
  /// randomisation. Returns its process id.
  pid_t start(const std::vector<std::string>& argv, const std::string& output, int input = -1);

  enum class Why { breakpoint, call, call_return, ended };
  struct Stop {
    Why why;
    pid_t process, task;
    std::string program;
    std::uint64_t address = 0;        ///< of breakpoint, as linked
    std::uint64_t call = 0;           ///< number, for call and call_return
    std::string site;                 ///< of call: where in the program, the same in every run
    std::uint64_t arguments[6] = {};  ///< of call
    std::int64_t result = 0;          ///< of call_return
    int status = 0;                   ///< wait(2)'s, for ended: of any of our children, traced or not
  };
  /// The next thing of interest, nothing at the deadline. The task stays stopped until resume().
  std::optional<Stop> next(Clock::time_point deadline);
  void resume(const Stop& stop);
  /// At a stop of kind call: it returns -`number` and does not happen; only close(2) does, as the kernel's does when it fails.
  void fail_call(const Stop& stop, int number);

  /// Living traced processes of that program, oldest first; "NAME+" as above.
  std::vector<pid_t> processes(const std::string& program) const;
  pid_t parent(pid_t process) const;
  /// SIGKILL; returns when it is dead (its parent may not have been told yet).
  void kill(pid_t process);
  /// Takes the breakpoints out and lets go of everything.
  void detach();
  /// Whose end was seen here, traced or not, with wait(2)'s status: nobody else can wait for them any more.
  const std::map<pid_t, int>& ends() const { return ends_; }

 private:
  struct Task {
    pid_t process = 0;
    bool stopped = false, in_call = false;
    int fail_with = 0;
  };
  struct Process {
    std::string program;
    pid_t parent = 0;
    std::uint64_t order = 0;
    std::vector<std::uint64_t> planted;   ///< addresses as loaded
    std::uint64_t base = 0;
  };
  std::optional<Stop> digest(pid_t task, int status);
  void learn(pid_t task, pid_t from, bool same_process);
  void executed(pid_t task);
  void plant(pid_t process, const std::string& program);
  void go_on(pid_t task, int signal = 0);
  void let_go(pid_t task, int signal);
  void forget(pid_t task);
  void remove_breakpoints();

  std::set<std::string> programs_, calls_of_;
  std::map<std::string, std::vector<std::uint64_t>> breakpoints_;
  std::map<pid_t, Task> tasks_;
  std::map<pid_t, Process> processes_;
  std::map<pid_t, int> ends_;
  std::uint64_t order_ = 0;
};

}  // namespace sandbox::testing
