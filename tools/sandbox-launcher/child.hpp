#pragma once

#include <linux/filter.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

/// A sandbox's first process between clone(2) and the agent.
///
/// It shares the launcher's memory (CLONE_VM) and, until told to go, its descriptors (CLONE_FILES): nothing has to be
/// copied or sent. Therefore it allocates nothing, calls nothing of the C library that touches errno, and only reads
/// what the launcher wrote before the go.
namespace sandbox::launcher {

inline constexpr int kMaxJoins = 8, kMaxLowerLayers = 65, kMaxAttached = 16;

/// Steps of the child, in order; also the index into `timings`.
enum class Step : std::uint8_t { none, cgroup, identity, wait, root, writable, proc, enter, locks, filter, exec, count };

/// A directory to make below /work before anything is mounted from it.
struct NewDirectory {
  const char* path;
  std::uint32_t mode;
};

/// One directory of the writable file system and where it appears.
struct WritablePlace {
  const char* source;         ///< "/work/root"
  const char* target;         ///< "/new/root"
  const char* inside;         ///< "/root"
  bool no_exec;
  const char* options;        ///< overlay with the template's part below, or null: the directory itself
};

/// A subtree of the host shown over an overlay root.
struct AttachedTree {
  const char* lower;          ///< where it is attached before it is joined: "/attached/a"; null: shown as it is
  const char* target;         ///< "/new/usr"
  const char* options;        ///< of the overlay, with `lower`
};

struct Limit {
  int resource;
  const char* name;
  std::uint64_t most;
};

struct ChildPlan {
  // What kind of sandbox. All pointers are the recipe's.
  const char* hostname;
  std::uint32_t hostname_size;
  const char* workdir;
  char* const* argv;
  char* const* environment;
  sock_fprog filter;
  const Limit* limits;
  int limit_count;
  bool rootless, writable_root;
  int landlock_abi;              ///< 0: do without
  const char* const* masks;      ///< "/new/proc/…"
  const bool* mask_is_directory;
  int mask_count;
  const NewDirectory* directories;
  int directory_count;
  const WritablePlace* places;
  int place_count;
  // Overlay root: lowers are attached at lower_targets in order and joined by root_options; null: one plain tree.
  const char* root_options;
  const char* const* lower_targets;
  int lower_count;
  const AttachedTree* attached_trees;
  int attached_count;

  // This sandbox. Descriptors are the launcher's numbers, below kFirstKeptFd.
  int joins[kMaxJoins];
  int join_count;
  int launcher_pidfd;
  int agent, stream, oom_counter, door;   ///< the last two may be -1
  // Written before the go, detached mounts all:
  int root_tree;                    ///< without overlay
  int lowers[kMaxLowerLayers];
  int attached[kMaxAttached];
  int scratch;                      ///< template layer, or -1
  int writable;                     ///< the tmpfs
};

/// Shared with the child. `tid` becomes 0, by the kernel, when the child no longer uses this memory.
struct ChildState {
  ChildPlan plan;
  std::atomic<std::uint32_t> go{0};        ///< futex: 1 go on, 2 give up
  std::atomic<std::uint32_t> own_files{0}; ///< the child has its own descriptors now
  std::atomic<std::uint32_t> tid{0};
  // Failure, valid when `failed` is set and the child has ended.
  std::atomic<std::uint32_t> failed{0};
  const char* operation = nullptr;
  const char* detail = nullptr;
  int sys_errno = 0;
  std::uint64_t start_ns = 0;
  std::uint32_t timings[static_cast<int>(Step::count)] = {};  ///< µs from start_ns to the end of each step
};

/// Bytes of stack a child has.
inline constexpr std::size_t kChildStack = 64 << 10;
/// Descriptors from here up are the launcher's own; the child's copy of the table ends before them.
inline constexpr int kFirstKeptFd = 256;

/// Entry of the child. Never returns.
[[noreturn]] void child_main(ChildState& state) noexcept;

/// clone3 with a stack for the child; returns the pid or -errno. `pidfd` receives the child's pidfd.
long start_child(ChildState& state, void* stack_top, std::uint64_t flags, int cgroup_directory, int& pidfd) noexcept;

}  // namespace sandbox::launcher
