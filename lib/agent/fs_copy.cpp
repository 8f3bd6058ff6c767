#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <optional>

#include "agent/fs_methods.hpp"
#include "agent/walk.hpp"

namespace sandbox::agent {

namespace {

constexpr std::string_view kFsCopy = "fs.copy";

/// Copies a file or, if asked, a tree. A symlink given as `from` is followed, symlinks in a tree are copied as such;
/// FIFOs, sockets and devices in a tree are left out. Files appear complete or not at all; permission bits are kept
/// (without setuid and setgid), owners and times are not. An existing target directory is merged into. Holes stay holes.
class FsCopy final : public FileOperation {
 public:
  FsCopy(Context context, protocol::FsPairRequest request) : FileOperation(context), request_(std::move(request)) {}

 protected:
  Result<void> start() override {
    const auto &from = request_.from, &to = request_.to;
    SANDBOX_CHECK(check_path(kFsCopy, from));
    SANDBOX_CHECK(check_path(kFsCopy, to));
    struct stat info;
    if (::stat(from.c_str(), &info) != 0) return file_error(errno, kFsCopy, from);
    if (S_ISDIR(info.st_mode) && request_.recursive) {
      SANDBOX_CHECK(start_tree(info));
    } else {
      SANDBOX_TRY(in_, open_regular(kFsCopy, from, O_RDONLY));
      if (::fstat(in_.get(), &info) != 0) return file_error(errno, kFsCopy, from);
      SANDBOX_TRY(Place place, open_followed_place(kFsCopy, to));
      struct stat there;
      if (::fstatat(place.dir.get(), place.name.c_str(), &there, AT_SYMLINK_NOFOLLOW) == 0) {
        if (!S_ISREG(there.st_mode)) return not_regular(kFsCopy, to, there.st_mode);
        if (there.st_dev == info.st_dev && there.st_ino == info.st_ino)
          return Error(ErrorCode::invalid_argument, "source and target are the same file").with_operation(std::string(kFsCopy));
      }
      SANDBOX_CHECK(start_file(place.dir.get(), place.name, info));
    }
    return slice();
  }

  Result<void> slice() override {
    std::size_t bytes = 0;
    for (int i = 0; i < kEntriesPerSlice && bytes < kBytesPerSlice; ++i) {
      if (in_) {
        SANDBOX_CHECK(copy_some(bytes));
        continue;
      }
      if (!walk_) return succeed();
      const auto step = walk_->next();
      if (step == TreeWalk::Step::done) {
        ::fchmod(target_.get(), target_mode_);
        return succeed();
      }
      if (step == TreeWalk::Step::error) return file_error(walk_->error(), kFsCopy, request_.from + '/' + walk_->path());
      if (step == TreeWalk::Step::leave) {
        SANDBOX_CHECK(leave_directory());
      } else {
        SANDBOX_CHECK(copy_entry());
      }
    }
    again();
    return {};
  }

  void release() noexcept override {
    in_.reset();
    out_.discard();
    walk_.reset();
    parent_.reset();
    target_.reset();
  }

 private:
  Result<void> succeed() {
    finish(protocol::FsWriteResult{copied_});
    return {};
  }

  Result<void> start_tree(const struct stat& source) {
    const auto& to = request_.to;
    if (::mkdir(to.c_str(), 0700) != 0 && errno != EEXIST) return file_error(errno, kFsCopy, to);
    target_.reset(::open(to.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!target_) return file_error(errno, kFsCopy, to);
    // A target inside the source would be copied into itself for ever.
    core::UniqueFd at(::fcntl(target_.get(), F_DUPFD_CLOEXEC, 0));
    for (struct stat info, last{}; at; last = info) {
      if (::fstat(at.get(), &info) != 0) return file_error(errno, kFsCopy, to);
      if (info.st_dev == source.st_dev && info.st_ino == source.st_ino)
        return Error(ErrorCode::invalid_argument, "the target is inside of the source").with_operation(std::string(kFsCopy));
      if (info.st_dev == last.st_dev && info.st_ino == last.st_ino) break;  // the root is its own parent
      at.reset(::openat(at.get(), "..", O_PATH | O_DIRECTORY | O_CLOEXEC));
    }
    core::UniqueFd from(::open(request_.from.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!from) return file_error(errno, kFsCopy, request_.from);
    target_mode_ = source.st_mode & 01777;
    walk_.emplace(std::move(from));
    return {};
  }

  Result<void> start_file(int dir, const std::string& name, const struct stat& info) {
    SANDBOX_TRY(out_, NewFile::create(kFsCopy, dir, request_.to));
    name_ = name;
    mode_ = info.st_mode & 0777;
    position_ = 0;
    kernel_copies_ = true;
    return {};
  }

  /// One piece of in_ to out_; commits at the end.
  Result<void> copy_some(std::size_t& bytes) {
    const auto fail_with = [&] { return file_error(errno, kFsCopy, request_.to); };
    // Skip holes, so that a sparse file does not grow. EINVAL and the like: no such support, copy everything.
    const off_t data = ::lseek(in_.get(), position_, SEEK_DATA);
    if (data < 0 && errno == ENXIO) return commit_file();
    std::size_t want = kBytesPerSlice;
    if (data >= 0) {
      position_ = data;
      const off_t hole = ::lseek(in_.get(), data, SEEK_HOLE);
      if (hole > data) want = static_cast<std::size_t>(std::min<off_t>(hole - data, kBytesPerSlice));
    }
    ssize_t got = -1;
    if (kernel_copies_) {
      off_t in_at = position_, out_at = position_;
      got = ::syscall(SYS_copy_file_range, in_.get(), &in_at, out_.fd(), &out_at, want, 0u);
      if (got < 0 && errno == EINTR) return {};
      if (got < 0 && errno != EXDEV && errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP && errno != EPERM)
        return fail_with();
      // Some file systems report 0 where read(2) would not (proc, for example).
      if (got <= 0) kernel_copies_ = false;
    }
    if (got <= 0) {
      const auto buffer = scratch();
      if (buffer.empty()) return file_error(ENOMEM, kFsCopy, request_.to);
      do got = ::pread(in_.get(), buffer.data(), std::min(buffer.size(), want), position_);
      while (got < 0 && errno == EINTR);
      if (got < 0) return fail_with();
      if (got == 0) return commit_file();
      touched(static_cast<std::size_t>(got));
      for (ssize_t done = 0; done < got;) {
        const auto wrote = ::pwrite(out_.fd(), buffer.data() + done, static_cast<std::size_t>(got - done), position_ + done);
        if (wrote < 0 && errno != EINTR) return fail_with();
        if (wrote > 0) done += wrote;
      }
    }
    position_ += got;
    copied_ += static_cast<std::uint64_t>(got);
    bytes += static_cast<std::size_t>(got);
    return {};
  }

  Result<void> commit_file() {
    struct stat info;
    if (::fstat(in_.get(), &info) != 0) return file_error(errno, kFsCopy, request_.from);
    // A hole at the end has no data to copy but counts in the size.
    if (info.st_size > position_ && ::ftruncate(out_.fd(), info.st_size) != 0) return file_error(errno, kFsCopy, request_.to);
    in_.reset();
    return out_.commit(kFsCopy, request_.to, name_, mode_, false);
  }

  std::string shown() const { return request_.to + '/' + walk_->path(); }

  /// The target's directory for the entry the walk stands at.
  Result<int> target_parent() {
    const auto& path = walk_->path();
    const auto slash = path.rfind('/');
    if (slash == std::string::npos) return target_.get();
    const auto directory = std::string_view(path).substr(0, slash);
    if (!parent_ || parent_path_ != directory) {
      parent_ = open_beneath(target_.get(), directory, O_PATH | O_DIRECTORY);
      if (!parent_) return file_error(errno, kFsCopy, shown());
      parent_path_ = directory;
    }
    return parent_.get();
  }

  Result<void> copy_entry() {
    struct stat info;
    if (::fstatat(walk_->parent(), walk_->name(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOENT) return {};
      return file_error(errno, kFsCopy, request_.from + '/' + walk_->path());
    }
    SANDBOX_TRY(const int parent, target_parent());
    const char* name = walk_->name();
    if (S_ISDIR(info.st_mode)) {
      if (::mkdirat(parent, name, 0700) != 0) {
        struct stat there;
        if (errno != EEXIST || ::fstatat(parent, name, &there, AT_SYMLINK_NOFOLLOW) != 0) return file_error(errno, kFsCopy, shown());
        if (!S_ISDIR(there.st_mode)) return file_error(ENOTDIR, kFsCopy, shown());
      }
      if (const int failed = walk_->descend()) return file_error(failed, kFsCopy, request_.from + '/' + walk_->path());
    } else if (S_ISLNK(info.st_mode)) {
      const std::string target = read_link(walk_->parent(), name);
      if (target.empty()) return {};  // swapped
      if (::symlinkat(target.c_str(), parent, name) != 0) {
        if (errno != EEXIST || ::unlinkat(parent, name, 0) != 0 || ::symlinkat(target.c_str(), parent, name) != 0)
          return file_error(errno, kFsCopy, shown());
      }
    } else if (S_ISREG(info.st_mode)) {
      core::UniqueFd in(::openat(walk_->parent(), name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
      if (!in) return file_error(errno, kFsCopy, request_.from + '/' + walk_->path());
      if (::fstat(in.get(), &info) != 0 || !S_ISREG(info.st_mode)) return {};  // swapped for something else
      SANDBOX_CHECK(start_file(parent, name, info));
      in_ = std::move(in);
    }
    return {};
  }

  /// Gives a finished directory the permissions of its source: earlier, a read-only one could not have been filled.
  Result<void> leave_directory() {
    struct stat info;
    const auto source = open_beneath_source();
    if (!source || ::fstat(source.get(), &info) != 0) return {};  // moved away meanwhile
    const auto target = open_beneath(target_.get(), walk_->path(), O_RDONLY | O_DIRECTORY);
    if (target) ::fchmod(target.get(), info.st_mode & 01777);
    return {};
  }
  core::UniqueFd open_beneath_source() {
    const core::UniqueFd root(::open(request_.from.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    return root ? open_beneath(root.get(), walk_->path(), O_PATH | O_DIRECTORY) : core::UniqueFd();
  }

  protocol::FsPairRequest request_;
  core::UniqueFd in_;          ///< file being copied
  NewFile out_;
  std::string name_;
  mode_t mode_ = 0;
  off_t position_ = 0;
  bool kernel_copies_ = true;
  std::optional<TreeWalk> walk_;   ///< over the source of a tree
  core::UniqueFd target_, parent_;
  std::string parent_path_;
  mode_t target_mode_ = 0;
  std::uint64_t copied_ = 0;
};

}  // namespace

Made make_fs_copy(Context context, ByteView params, std::string_view key) {
  return make_file_operation<FsCopy, protocol::FsPairRequest>(context, params, key);
}

}  // namespace sandbox::agent
