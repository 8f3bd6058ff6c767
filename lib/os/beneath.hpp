#pragma once

#include <fcntl.h>
#include <sys/stat.h>

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include <sandbox/result.hpp>

#include "core/unique_fd.hpp"

/// Files strictly below a directory descriptor (openat2(2), RESOLVE_BENEATH): a path can never leave the directory,
/// neither by "..", nor by an absolute path or symlink, nor through /proc's magic links. Guest-safe, thread-safe.
/// Errors: what openat2 says; ELOOP for a refused symlink, EXDEV for an escape, both as invalid_argument.
namespace sandbox::os::beneath {

enum class Symlinks : std::uint8_t {
  refuse,  ///< any symlink in the path is an error (RESOLVE_NO_SYMLINKS)
  follow,  ///< followed as long as they stay beneath the directory
};

/// `flags` as for open(2); O_CLOEXEC is added. `path` is relative; "" or "." is the directory itself.
Result<core::UniqueFd> open(int directory, std::string_view path, int flags, Symlinks symlinks = Symlinks::refuse,
                            mode_t mode = 0);
/// One directory; an existing one is already_exists. The parent is resolved beneath, without symlinks.
Result<void> make_directory(int directory, std::string_view path, mode_t mode);
/// `path` and missing parents; existing directories are fine. Returns the last one, opened O_DIRECTORY.
Result<core::UniqueFd> make_directories(int directory, std::string_view path, mode_t mode);
/// Whole content. Errors: resource_exhausted when longer than `limit`; invalid_argument when not a regular file.
Result<std::string> read_file(int directory, std::string_view path, std::size_t limit,
                              Symlinks symlinks = Symlinks::refuse);
/// Creates `path` (it must not exist) with exactly `content`.
Result<void> write_new_file(int directory, std::string_view path, std::string_view content, mode_t mode);
/// lstat of `path`.
Result<struct stat> status(int directory, std::string_view path);
/// Removes `path` and, when it is a directory, everything below it; never follows a symlink or crosses a mount.
/// A missing path is success.
Result<void> remove_tree(int directory, std::string_view path);
/// Names in the directory `path`, sorted, without . and ..
Result<std::vector<std::string>> list(int directory, std::string_view path);

/// The parent directory of `path` (opened O_PATH) and its last component. Errors: invalid_argument when there is no
/// last component ("", ".", "..", trailing slash).
struct Parent {
  core::UniqueFd directory;
  std::string name;
};
Result<Parent> open_parent(int directory, std::string_view path);

}  // namespace sandbox::os::beneath
