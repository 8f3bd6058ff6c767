#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/unique_fd.hpp"
#include "protocol/messages.hpp"

namespace sandbox::agent {

/// Entries of one directory, read in blocks, without "." and "..".
class DirectoryReader {
 public:
  struct Entry {
    const char* name = nullptr;  ///< NUL-terminated; valid until the next call
    protocol::FileType type = protocol::FileType::unknown;
  };
  DirectoryReader() = default;
  explicit DirectoryReader(core::UniqueFd directory) : fd_(std::move(directory)) {}

  int fd() const noexcept { return fd_.get(); }
  /// The next entry; false at the end, or with error() set.
  bool next(Entry& entry);
  int error() const noexcept { return error_; }
  /// Starts over.
  void rewind();
  /// Gives descriptor and buffer back; resume() continues behind the entry returned last.
  void suspend() noexcept;
  void resume(core::UniqueFd directory);
  bool suspended() const noexcept { return !fd_; }

 private:
  static constexpr std::size_t kBuffer = 8 << 10;
  core::UniqueFd fd_;
  std::unique_ptr<char[]> buffer_;
  std::uint32_t begin_ = 0, end_ = 0;
  int error_ = 0;
  std::int64_t cookie_ = 0;  ///< d_off of the entry returned last
};

/// A depth-first walk below a directory, one step at a time. Never follows a symlink and never leaves the tree, whatever
/// the guest renames meanwhile. Of a deep tree only the kOpenLevels deepest levels are open: one above is found again
/// through its child's "..", if that is still the same directory, and otherwise from the root. A level is closed only when
/// the walk has gone kOpenLevels further down, so the calls are linear in the entries.
class TreeWalk {
 public:
  static constexpr std::size_t kOpenLevels = 48;
  enum class Step : std::uint8_t {
    entry,   ///< path(), name(), parent(), type() describe it
    leave,   ///< everything below directory path() was seen (only directories that descend() entered)
    error,   ///< directory path() could not be read (on): error(); the walk goes on behind it
    done,
  };
  explicit TreeWalk(core::UniqueFd root);

  Step next();
  /// Walks into the directory that next() returned last. Returns an errno or 0.
  int descend();

  const std::string& path() const noexcept { return path_; }        ///< relative to the root, no leading slash
  const char* name() const noexcept { return path_.c_str() + name_at_; }
  int parent() const noexcept { return levels_.back().reader.fd(); }  ///< the directory holding it; after `entry` only
  protocol::FileType type() const noexcept { return type_; }        ///< as the directory says; may be unknown
  int error() const noexcept { return error_; }
  std::size_t depth() const noexcept { return levels_.size(); }     ///< 1 for entries of the root
  std::uint64_t reopened() const noexcept { return reopened_; }     ///< levels that had to be found again so far

 private:
  struct Level {
    DirectoryReader reader;
    std::size_t path_size;   ///< of the directory's own path
    std::uint64_t device = 0, inode = 0;  ///< once suspended
  };
  /// The directory of `level`, which was suspended, given its child. Null when it is not the child's parent any more.
  static core::UniqueFd parent_of(int child, const Level& level);
  void resume(Level& level, core::UniqueFd directory);
  int root_ = -1;            ///< of levels_[0], which is never suspended
  std::vector<Level> levels_;
  std::size_t suspended_ = 0;  ///< levels_[1] to levels_[suspended_] are
  std::uint64_t reopened_ = 0;
  std::string path_;
  std::size_t name_at_ = 0;
  protocol::FileType type_ = protocol::FileType::unknown;
  int error_ = 0;
};

}  // namespace sandbox::agent
