#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "agent/fs_methods.hpp"

namespace sandbox::agent {

namespace {

constexpr std::string_view kFsWrite = "fs.write";

/// Receives a file. Unless appending, nobody sees it before it is complete, and the file it replaces stays until then.
/// The new file belongs to the agent's user; a setuid or setgid bit of the one it replaces is not carried over.
class FsWrite final : public FileOperation {
 public:
  FsWrite(Context context, protocol::FsWriteRequest request) : FileOperation(context), request_(std::move(request)) {}

  void on_data(session::Channel channel, ByteView data, bool fin) override {
    if (ended()) return;
    if (channel == session::Channel::in) check(take(data, fin));
    if (!ended()) session().consumed(stream(), channel, data.size());
  }

 protected:
  Result<void> start() override {
    const auto& path = request_.path;
    SANDBOX_CHECK(check_path(kFsWrite, path));
    if (request_.make_parents) SANDBOX_CHECK(make_directories(kFsWrite, std::string(parent_of(path)), 0755));
    const mode_t mode = request_.mode ? request_.mode & 07777 : 0644;
    if (request_.append) {
      const int flags = O_WRONLY | O_APPEND | O_CREAT | (request_.exclusive ? O_EXCL : 0);
      SANDBOX_TRY(appended_, open_regular(kFsWrite, path, flags, mode));
      return {};
    }
    if (path.ends_with('/')) return file_error(EISDIR, kFsWrite, path);
    mode_ = mode;
    struct stat info;
    SANDBOX_TRY(place_, open_place(kFsWrite, path));
    bool exists = ::fstatat(place_.dir.get(), place_.name.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0;
    if (exists && request_.exclusive) return file_error(EEXIST, kFsWrite, path);
    if (exists && S_ISLNK(info.st_mode)) {
      // What the link points at is replaced, not the link.
      SANDBOX_TRY(place_, open_followed_place(kFsWrite, path));
      exists = ::fstatat(place_.dir.get(), place_.name.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0;
    }
    if (exists) {
      if (!S_ISREG(info.st_mode)) return not_regular(kFsWrite, path, info.st_mode);
      if (!request_.mode) mode_ = info.st_mode & 0777;
    } else if (errno != ENOENT) {
      return file_error(errno, kFsWrite, path);
    }
    SANDBOX_TRY(replacement_, NewFile::create(kFsWrite, place_.dir.get(), path));
    return {};
  }

  void release() noexcept override {
    appended_.reset();
    replacement_.discard();
    place_.dir.reset();
  }

 private:
  Result<void> take(ByteView data, bool fin) {
    const int fd = replacement_ ? replacement_.fd() : appended_.get();
    while (!data.empty()) {
      const auto wrote = ::write(fd, data.data(), data.size());
      if (wrote < 0) {
        if (errno == EINTR) continue;
        return file_error(errno, kFsWrite, request_.path);
      }
      data = data.subspan(static_cast<std::size_t>(wrote));
      size_ += static_cast<std::uint64_t>(wrote);
    }
    if (!fin) return {};
    if (replacement_)
      SANDBOX_CHECK(replacement_.commit(kFsWrite, request_.path, place_.name, mode_, request_.exclusive));
    finish(protocol::FsWriteResult{size_});
    return {};
  }

  protocol::FsWriteRequest request_;
  core::UniqueFd appended_;
  Place place_;
  NewFile replacement_;
  mode_t mode_ = 0;
  std::uint64_t size_ = 0;
};

}  // namespace

Made make_fs_write(Context context, ByteView params, std::string_view key) {
  return make_file_operation<FsWrite, protocol::FsWriteRequest>(context, params, key);
}

}  // namespace sandbox::agent
