#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <bitset>
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
/// A process can leave its group and its session, and its parent can die, but it inherits oom_score_adj through fork and
/// exec, cannot lower it below the agent's own and has no reason to raise it. So each exec gets a value of its own
/// while it runs (kFirstTag up), and user programs become the OOM killer's first choice as a side effect.
struct Lineage {
  pid_t leader = 0;               ///< first process; also its session and group
  std::uint64_t started = 0;      ///< clock ticks since boot, as in /proc/PID/stat
  int tag = 0;                    ///< oom_score_adj; 0: none was free or permitted
  bool leader_reaped = false;     ///< then the number may belong to somebody else
};

class Children {
 public:
  /// Blocks SIGCHLD and SIGPIPE for the calling thread, which must be the loop's.
  explicit Children(Loop& loop);
  ~Children();
  Children(const Children&) = delete;

  /// Tells `listener` of the end of `pid`, which must be an unreaped child.
  void add(pid_t pid, ChildListener* listener);
  /// `listener` is not told; the process is reaped all the same.
  void forget(pid_t pid);
  /// Reaps what ended, now. Called by the loop on SIGCHLD.
  void reap();

  /// Reserves a tag; 0 when there is none. The next process started between enter_tag() and leave_tag() inherits it.
  int reserve_tag() noexcept;
  void release_tag(int tag) noexcept;
  void enter_tag(int tag) noexcept;
  void leave_tag() noexcept;

  /// SIGKILLs every process of `lineage`: its first group at once, and from a slice soon after whatever changed group or
  /// session or lost its parent. That takes passes over /proc, about 10 µs per process, shared by all lineages killed in
  /// the same turn.
  void kill_all(const Lineage& lineage);
  /// SIGKILLs every descendant of the agent.
  void kill_descendants();

  /// "Now" in the unit of Lineage::started.
  static std::uint64_t now_ticks() noexcept;

 private:
  static constexpr int kFirstTag = 500;
  static constexpr int kTags = 480;
  /// Values in regular rotation: far enough apart in time that a background process left by an old exec rarely meets a
  /// new one with its tag, close enough in value that they do not sway which program the OOM killer picks.
  static constexpr int kRotation = 64;

  bool write_score(int value) noexcept;
  void sweep();

  Loop& loop_;
  core::UniqueFd signals_;
  core::UniqueFd score_;          ///< /proc/self/oom_score_adj, when raising and lowering it works
  int own_score_ = 0;
  std::unordered_map<pid_t, ChildListener*> listeners_;
  std::bitset<kTags> tags_;
  int next_tag_ = 0;
  std::vector<Lineage> doomed_;   ///< waiting for sweep()
  std::uint64_t sweep_slice_ = 0;
};

}  // namespace sandbox::agent
