#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <sys/types.h>
#include <vector>

/// What the host holds on behalf of our sandboxes, cheaply enough to be asked while a clock runs.
namespace bench {

/// Processes below this one that are process 1 of a pid namespace: the agents.
std::set<pid_t> agents();
/// Direct children of this process that are no agents: the launchers.
std::vector<pid_t> launchers();

/// Everything that should be gone when a sandbox is: taken while it lives, asked afterwards.
class Traces {
 public:
  /// Of the sandbox whose agent is `agent`; `before` was taken before it was made.
  struct Counts {
    std::vector<std::pair<pid_t, std::size_t>> mounts;  ///< per launcher and for us: lines of mountinfo
    std::size_t descriptors = 0;                        ///< of this process
    static Counts take();
  };
  Traces(pid_t agent, Counts before);
  /// Empty when nothing is left: its process and all below it, its cgroup directories,
  /// mounts and our descriptors at most as many as before.
  std::string left() const;

 private:
  std::vector<pid_t> processes_;
  std::vector<std::string> cgroups_;
  Counts before_;
};

/// Proportional set size of `pid` in KiB (smaps_rollup), or -1.
double pss_kib(pid_t pid);
/// Private part of it.
double private_kib(pid_t pid);
/// A line of /proc/meminfo in KiB.
double meminfo_kib(const char* key);

}  // namespace bench
