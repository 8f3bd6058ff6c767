#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <cstdint>
#include <unordered_map>
#include <vector>

#include <sandbox/result.hpp>

#include "agent/loop.hpp"
#include "core/unique_fd.hpp"

/// Every process below the agent: reaping, and finding all that belongs to one exec.
namespace sandbox::agent {

class ChildListener {
 public:
  virtual ~ChildListener() = default;
  /// The process ended and was reaped; `status` as from wait4(2). Last call for it.
  virtual void on_exit(int status, const rusage& usage) = 0;
};

/// Names the processes of one exec.
///
/// A process can leave its group and its session, and its parent can die. What it keeps through fork and exec are its
/// resource limits, and one of them, RLIMIT_LOCKS, has had no effect since Linux 2.4: its soft value carries a number
/// that no other exec of this agent ever has. A program may change it and so hide from a timeout, never from the end of
/// its sandbox.
struct Lineage {
  pid_t leader = 0;               ///< first process; also its session and group
  std::uint64_t started = 0;      ///< clock ticks since boot, as in /proc/PID/stat
  std::uint64_t mark = 0;         ///< soft RLIMIT_LOCKS; 0: this system does not permit it
  bool leader_reaped = false;     ///< then the number may belong to somebody else
};

class Children {
 public:
  /// Blocks SIGCHLD and SIGPIPE for the calling thread, which must be the loop's. `score`: /proc/self/oom_score_adj open
  /// for reading and writing, where the caller has it and /proc here is read-only; else it is looked for.
  Children(Loop& loop, core::UniqueFd score);
  ~Children();
  Children(const Children&) = delete;

  /// Tells `listener` of the end of `pid`, which must be an unreaped child.
  void add(pid_t pid, ChildListener* listener);
  /// `listener` is not told; the process is reaped all the same.
  void forget(pid_t pid);
  /// Reaps what ended, now. Called by the loop on SIGCHLD.
  void reap();

  /// A number for Lineage::mark that was never used before; 0 when marks do not work here.
  std::uint64_t new_mark() noexcept { return mark_limit_ == 0 ? 0 : next_mark_++; }
  /// Hard RLIMIT_LOCKS, to be kept when setting the soft one.
  std::uint64_t mark_limit() const noexcept { return mark_limit_; }
  /// A process started between the two is a likelier victim of the OOM killer than the agent, where /proc permits it.
  void offer_to_oom_killer() noexcept;
  void leave_oom_killer() noexcept;

  /// SIGKILLs every process of `lineage`: its first group at once, and from a slice soon after whatever changed group or
  /// session or lost its parent. That takes passes over /proc, about 10 µs per process, shared by all lineages killed in
  /// the same turn.
  void kill_all(const Lineage& lineage);
  /// SIGKILLs every descendant of the agent.
  void kill_descendants();

  /// "Now" in the unit of Lineage::started.
  static std::uint64_t now_ticks() noexcept;

 private:
  static constexpr int kProgramScore = 500;
  static constexpr std::uint64_t kFirstMark = std::uint64_t{1} << 40;

  bool write_score(int value) noexcept;
  void sweep();

  Loop& loop_;
  core::UniqueFd signals_;
  core::UniqueFd score_;          ///< /proc/self/oom_score_adj, when raising and lowering it works
  int own_score_ = 0;
  std::unordered_map<pid_t, ChildListener*> listeners_;
  std::uint64_t mark_limit_ = 0;
  std::uint64_t next_mark_ = kFirstMark;
  std::vector<Lineage> doomed_;   ///< waiting for sweep()
  std::uint64_t sweep_slice_ = 0;
};

}  // namespace sandbox::agent
