#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <sandbox/result.hpp>

#include "agent/environment.hpp"
#include "core/unique_fd.hpp"

/// The path rule of the v1 dialect's file operations: only below /root and /tmp, or the colon-separated list in
/// SANDBOX_FS_ALLOWED. Programs (process.exec) are not confined by it.
namespace sandbox::agent::v1 {

/// Where a path leads, below a directory it may not leave. Nothing in `relative` is a symlink when it was looked at; open
/// it with open_beneath(), which refuses one that was put there since.
struct Located {
  core::UniqueFd root;    ///< O_PATH: the allowed directory
  std::string relative;   ///< of the file below it; empty: the allowed directory itself
  std::string shown;      ///< absolute, resolved: for messages

  /// `relative` without its last component, and that component. Needs a `relative` that is not empty.
  std::string_view directory() const noexcept;
  std::string name() const;
};

class Paths {
 public:
  enum class Last : std::uint8_t { follow, keep };   ///< a symlink at the end of the path

  Paths(std::vector<std::string> allowed, std::string base) : allowed_(std::move(allowed)), base_(std::move(base)) {}
  static Paths from(const Environment& environment);

  /// Cleans `path` lexically, relative ones from /root, resolves the symlinks of what exists of it, and checks the result.
  /// Errors, with the text the dialect prescribes: invalid_argument ("path is required"), permission_denied ("access
  /// denied: …"); with sys_errno set: ELOOP, ENAMETOOLONG, and what opening the allowed directory says.
  Result<Located> locate(std::string_view path, Last last = Last::follow) const;

 private:
  std::vector<std::string> allowed_;
  std::string base_;
};

/// The directory `relative` below `root`, made with its parents where missing (mode 0755). Never follows a symlink.
/// Empty with errno set on failure.
core::UniqueFd make_beneath(int root, std::string_view relative) noexcept;

}  // namespace sandbox::agent::v1
