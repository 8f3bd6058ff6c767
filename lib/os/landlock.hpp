#pragma once

#include <linux/landlock.h>

#include <cstdint>

#include "os/syscalls.hpp"

/// Landlock in the few calls a sandbox needs; every function is safe after clone(2) with shared memory. landlock(7)
namespace sandbox::os::landlock {

/// What the kernel offers; 0 when Landlock is missing or switched off.
inline int abi_version() noexcept {
  const long version = raw::call(nr::landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  return version < 0 ? 0 : static_cast<int>(version);
}

// Values newer than Debian 12's headers.
inline constexpr std::uint64_t kTruncate = 1ull << 14;           // ABI 3
inline constexpr std::uint64_t kIoctlDevice = 1ull << 15;        // ABI 5
inline constexpr std::uint64_t kScopeAbstractSocket = 1ull << 0; // ABI 6
inline constexpr std::uint64_t kScopeSignal = 1ull << 1;         // ABI 6

struct RulesetAttributes {  // struct landlock_ruleset_attr as of ABI 6
  std::uint64_t handled_access_fs;
  std::uint64_t handled_access_net;
  std::uint64_t scoped;
};

/// Everything that changes a file system, as far as `abi` knows it. Reading and executing stay free: what must not be
/// read is not mounted.
constexpr std::uint64_t changes(int abi) noexcept {
  std::uint64_t access = LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |
                         LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |
                         LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK |
                         LANDLOCK_ACCESS_FS_MAKE_SYM;
  if (abi >= 2) access |= LANDLOCK_ACCESS_FS_REFER;
  if (abi >= 3) access |= kTruncate;
  return access;
}

inline int create_ruleset(int abi, bool scoped) noexcept {
  RulesetAttributes attributes{};
  attributes.handled_access_fs = changes(abi);
  if (abi >= 6 && scoped) attributes.scoped = kScopeAbstractSocket | kScopeSignal;
  const std::size_t size = abi >= 6 ? 24 : abi >= 4 ? 16 : 8;
  return static_cast<int>(raw::call(nr::landlock_create_ruleset, &attributes, size, 0));
}

inline int allow_beneath(int ruleset, int path_fd, std::uint64_t access) noexcept {
  landlock_path_beneath_attr rule{};
  rule.allowed_access = access;
  rule.parent_fd = path_fd;
  return static_cast<int>(raw::call(nr::landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0));
}

inline int restrict_self(int ruleset) noexcept {
  return static_cast<int>(raw::call(nr::landlock_restrict_self, ruleset, 0));
}

}  // namespace sandbox::os::landlock
