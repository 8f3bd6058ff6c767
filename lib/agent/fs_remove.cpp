#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <vector>

#include "agent/fs_methods.hpp"
#include "agent/walk.hpp"

namespace sandbox::agent {

namespace {

constexpr std::string_view kFsRemove = "fs.remove";
/// Directories deeper than this are first moved up into the top of the tree that is being removed, so that descriptors
/// and memory stay bounded however deep a tree is.
constexpr std::size_t kMaxLevels = 48;
/// Rounds over a directory that removed nothing and yet found it not empty: someone keeps filling it.
constexpr int kFruitlessRounds = 100;

/// Removes a file, an empty directory or a whole tree. Works on descriptors opened without following symlinks: what the
/// guest swaps for a symlink meanwhile is unlinked, never entered. Directories without permissions for their owner get
/// them first.
class FsRemove final : public FileOperation {
 public:
  FsRemove(Context context, protocol::FsRemoveRequest request) : FileOperation(context), request_(std::move(request)) {}

 protected:
  Result<void> start() override {
    SANDBOX_CHECK(check_path(kFsRemove, request_.path));
    auto place = open_place(kFsRemove, request_.path);
    if (!place) {
      if (request_.missing_ok && place.error().sys_errno() == ENOENT) return succeed();
      return place.error();
    }
    place_ = std::move(*place);
    const char* name = place_.name.c_str();
    if (place_.name == "." || place_.name == "..") return file_error(EINVAL, kFsRemove, request_.path);
    if (::unlinkat(place_.dir.get(), name, 0) == 0) return succeed();
    if (errno == ENOENT && request_.missing_ok) return succeed();
    if (errno != EISDIR && errno != EPERM) return file_error(errno, kFsRemove, request_.path);
    if (::unlinkat(place_.dir.get(), name, AT_REMOVEDIR) == 0) return succeed();
    if (!request_.recursive || (errno != ENOTEMPTY && errno != EEXIST && errno != EACCES))
      return file_error(errno == EEXIST ? ENOTEMPTY : errno, kFsRemove, request_.path);

    SANDBOX_TRY(core::UniqueFd top, open_directory(place_.dir.get(), name));
    struct stat info, root;
    if (::fstat(top.get(), &info) != 0 || ::stat("/", &root) != 0) return file_error(errno, kFsRemove, request_.path);
    if (info.st_dev == root.st_dev && info.st_ino == root.st_ino) return file_error(EBUSY, kFsRemove, request_.path);
    levels_.push_back({DirectoryReader(std::move(top)), place_.name, false, 0});
    return slice();
  }

  Result<void> slice() override {
    for (int i = 0; i < kEntriesPerSlice; ++i) {
      Level& level = levels_.back();
      DirectoryReader::Entry entry;
      if (level.reader.next(entry)) {
        SANDBOX_CHECK(remove_entry(entry));
        continue;
      }
      if (level.reader.error()) return file_error(level.reader.error(), kFsRemove, request_.path);
      SANDBOX_CHECK(leave());
      if (levels_.empty()) return succeed();
    }
    again();
    return {};
  }

  void release() noexcept override {
    levels_.clear();
    place_.dir.reset();
  }

 private:
  struct Level {
    DirectoryReader reader;
    std::string name;        ///< in the level above
    bool progress = false;   ///< something was removed in this round
    int fruitless = 0;
  };

  Result<void> succeed() {
    finish(protocol::Empty{});
    return {};
  }

  /// Opens directory `name` for reading, giving its owner the permissions to do so if they are missing.
  Result<core::UniqueFd> open_directory(int dir, const char* name) {
    constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    core::UniqueFd fd(::openat(dir, name, kFlags));
    if (!fd && errno == EACCES) {
      allow(dir, name);
      fd.reset(::openat(dir, name, kFlags));
    }
    if (!fd) return file_error(errno, kFsRemove, request_.path);
    return fd;
  }

  /// chmod u+rwx of a directory, never of what a symlink points at. Its failure shows when the next call is refused.
  static void allow(int dir, const char* name) {
    const core::UniqueFd handle(::openat(dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    char self[40];
    ::snprintf(self, sizeof self, "/proc/self/fd/%d", handle.get());
    if (handle) (void)!::chmod(self, 0700);
  }

  Result<void> remove_entry(const DirectoryReader::Entry& entry) {
    Level& level = levels_.back();
    const int dir = level.reader.fd();
    const bool directory = entry.type == protocol::FileType::directory;
    // Empty directories go the same way as files.
    for (int attempt = 0; attempt < 2; ++attempt) {
      if (::unlinkat(dir, entry.name, directory ? AT_REMOVEDIR : 0) == 0) {
        level.progress = true;
        return {};
      }
      if (errno == ENOENT) return {};
      if (errno != EACCES || directory || attempt) break;
      if (::fchmod(dir, 0700) != 0) return file_error(EACCES, kFsRemove, request_.path);
    }
    if (directory && errno == EACCES) {
      // Either this directory or that one lacks permissions; a round more costs little.
      ::fchmod(dir, 0700);
      if (::unlinkat(dir, entry.name, AT_REMOVEDIR) == 0) {
        level.progress = true;
        return {};
      }
    }
    if (directory && errno == ENOTDIR) return {};  // swapped: the next round sees what it is now
    if (directory ? errno != ENOTEMPTY && errno != EEXIST && errno != EACCES : errno != EISDIR)
      return file_error(errno, kFsRemove, request_.path);

    if (levels_.size() >= kMaxLevels) return move_up(entry.name);
    core::UniqueFd below(::openat(dir, entry.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!below && errno == EACCES) {
      allow(dir, entry.name);
      below.reset(::openat(dir, entry.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    }
    if (!below) {
      if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP) return {};  // swapped: seen again in the next round
      return file_error(errno, kFsRemove, request_.path);
    }
    levels_.push_back({DirectoryReader(std::move(below)), entry.name, false, 0});
    return {};
  }

  Result<void> move_up(const char* name) {
    Level& level = levels_.back();
    const int dir = level.reader.fd(), top = levels_.front().reader.fd();
    for (int attempt = 0;; ++attempt) {
      const std::string fresh = temporary_name();
      if (::syscall(SYS_renameat2, dir, name, top, fresh.c_str(), kRenameNoReplace) == 0) {
        level.progress = levels_.front().progress = true;
        return {};
      }
      if (errno == ENOENT) return {};
      if (errno == EACCES && attempt == 0) allow(dir, name);
      else if (errno != EEXIST || attempt == 8) return file_error(errno, kFsRemove, request_.path);
    }
  }

  /// The current directory was read to its end: remove it, or read it once more.
  Result<void> leave() {
    Level& level = levels_.back();
    const bool top = levels_.size() == 1;
    const int dir = top ? place_.dir.get() : levels_[levels_.size() - 2].reader.fd();
    int failed = ::unlinkat(dir, level.name.c_str(), AT_REMOVEDIR) == 0 ? 0 : errno;
    if (failed == ENOTDIR && top) failed = ::unlinkat(dir, level.name.c_str(), 0) == 0 ? 0 : errno;
    if (failed == ENOTEMPTY || failed == EEXIST) {
      level.fruitless = level.progress ? 0 : level.fruitless + 1;
      if (level.fruitless > kFruitlessRounds) return file_error(ENOTEMPTY, kFsRemove, request_.path);
      level.progress = false;
      level.reader.rewind();
      return {};
    }
    // ENOENT, ENOTDIR: moved or swapped by the guest; the round over the level above finds what is there now.
    if (failed && failed != ENOENT && failed != ENOTDIR) return file_error(failed, kFsRemove, request_.path);
    levels_.pop_back();
    if (!levels_.empty()) levels_.back().progress = true;
    return {};
  }

  protocol::FsRemoveRequest request_;
  Place place_;
  std::vector<Level> levels_;
};

}  // namespace

Made make_fs_remove(Context context, ByteView params, std::string_view key) {
  return make_file_operation<FsRemove, protocol::FsRemoveRequest>(context, params, key);
}

}  // namespace sandbox::agent
