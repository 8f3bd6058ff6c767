#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <sandbox/result.hpp>

#include "core/unique_fd.hpp"

/// Control groups of v1, v2 and hybrid hosts behind one class. Guest-safe; not thread-safe.
/// See cgroups(7) and the kernel's Documentation/admin-guide/cgroup-v{1,2}.
namespace sandbox::os {

enum class Controller : std::uint8_t { memory = 1, cpu = 2, pids = 4, freezer = 8, cpuacct = 16 };

/// One mounted hierarchy and where our own process stands in it.
struct CgroupHierarchy {
  std::string directory;      ///< absolute path of our own cgroup in it
  std::string mount_point;    ///< `directory` begins with it
  bool v2 = false;
  std::uint8_t controllers = 0;  ///< Controller bits; on v2 what cgroup.controllers of `directory` lists
  bool has(Controller controller) const noexcept { return controllers & static_cast<std::uint8_t>(controller); }
};

/// What this host has, from the text of /proc/self/cgroup and /proc/self/mountinfo. Hierarchies with none of our
/// controllers are left out, except v2, which can kill and freeze even without controllers. Pure; v2 controllers are
/// not known yet (they are in a file) and stay 0.
std::vector<CgroupHierarchy> parse_cgroups(std::string_view proc_self_cgroup, std::string_view mountinfo);

struct CgroupLimits {
  std::uint64_t memory = 0;        ///< bytes, swap included
  std::uint32_t cpu_quota = 0;     ///< microseconds of CPU time per 100 ms
  std::uint32_t pids = 0;
  bool operator==(const CgroupLimits&) const = default;
};

struct CgroupStats {
  std::uint64_t memory_current = 0, memory_peak = 0;  ///< bytes
  std::uint64_t cpu_ns = 0;
  std::uint32_t pids_current = 0;
  std::uint64_t oom_kills = 0;
};

class CgroupTree;

/// One cgroup in every hierarchy in use: a sandbox's. Made by CgroupTree, which must outlive it; remove() or the destructor removes it.
class CgroupSet {
 public:
  CgroupSet() = default;
  CgroupSet(CgroupSet&& other) noexcept;
  CgroupSet& operator=(CgroupSet&& other) noexcept;
  ~CgroupSet();

  explicit operator bool() const noexcept { return tree_ != nullptr; }
  /// Errors: with operation "native.cgroup" and the file's name.
  Result<void> limit(const CgroupLimits& limits);
  /// Descriptors of v1 `tasks` files: a process joins by writing "0" to each. Writing another process's id instead
  /// waits for an RCU grace period (8–12 ms on the reference machine), so nobody does. Empty after take_joins().
  const std::vector<core::UniqueFd>& joins() const noexcept { return joins_; }
  /// The v2 directory for CLONE_INTO_CGROUP, or -1. Until take_joins().
  int v2_directory() const noexcept { return v2_directory_.get(); }
  /// Hands out all of these descriptors, which only the first process needs.
  std::vector<core::UniqueFd> take_joins();
  /// A read-only descriptor whose content tells OOM kills (v1 memory.oom_control, v2 memory.events); empty without one.
  core::UniqueFd open_oom_counter() const;
  CgroupStats stats() const;
  /// Stops or continues every process inside; returns when the kernel says it is done, at most 200 ms later.
  Result<void> set_frozen(bool frozen);
  /// SIGKILL to everything inside, frozen or not.
  void kill() noexcept;
  /// Removes the directories. Errors: failed_precondition while processes are left (retry: after backoff).
  Result<void> remove();

 private:
  friend class CgroupTree;
  CgroupTree* tree_ = nullptr;
  std::string name_;
  std::vector<core::UniqueFd> joins_;
  core::UniqueFd v2_directory_;
};

/// The directories "sandbox/<name>" in every hierarchy in use, owned by one launcher for its life and held by a
/// flock(2), so that others can tell and sweep what a dead one left.
class CgroupTree {
 public:
  /// Finds places where cgroups can be made and makes the directories; sweeps those of dead launchers. Never fails:
  /// what is not possible is in missing().
  static std::unique_ptr<CgroupTree> open(const std::string& name);
  CgroupTree(const CgroupTree&) = delete;
  ~CgroupTree();

  bool usable() const noexcept { return !hierarchies_.empty(); }
  /// Whether limits of `controller` can be enforced.
  bool has(Controller controller) const noexcept;
  /// Why `controller` is not there, one line.
  const std::string& reason(Controller controller) const noexcept;
  Result<CgroupSet> make();
  /// Removes cgroups that launchers left which were killed. open() does so once; their processes may take a moment longer
  /// to die. True: nothing is left to remove.
  bool sweep_dead();

 private:
  friend class CgroupSet;
  struct Place {
    bool v2 = false;
    std::uint8_t controllers = 0;
    core::UniqueFd parent;      ///< where "sandbox" lies
    core::UniqueFd directory;   ///< sandbox/<name>
  };
  CgroupTree() = default;
  const Place* place_of(Controller controller) const noexcept;
  std::vector<Place> hierarchies_;
  std::string name_;
  std::vector<std::pair<std::uint8_t, std::string>> reasons_;  ///< controllers, why not
  std::string no_reason_;
  std::uint64_t next_ = 0;
};

}  // namespace sandbox::os
