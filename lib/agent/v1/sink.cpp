#include "agent/v1/sink.hpp"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/v1/files.hpp"

namespace sandbox::agent::v1 {
namespace {

Error write_error(std::string_view what, std::string_view path, int number) {
  return Error(ErrorCode::internal, "write file: " + os_error(what, path, number)).with_errno(number);
}

}  // namespace

Result<void> Sink::open(const Located& target, mode_t mode, bool force) {
  shown_ = target.shown;
  if (target.relative.empty()) return write_error("open", shown_, EISDIR);
  const core::UniqueFd directory = make_beneath(target.root.get(), target.directory());
  if (!directory) {
    const int number = errno;
    return Error(ErrorCode::internal, "create parent dirs: " + os_error("mkdir", parent_of(shown_), number)).with_errno(number);
  }
  name_ = target.name();
  mode_ = mode;
  struct stat info;
  if (::fstatat(directory.get(), name_.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0) {
    if (S_ISDIR(info.st_mode)) return write_error("open", shown_, EISDIR);
    if (S_ISLNK(info.st_mode)) return write_error("open", shown_, ELOOP);   // put there after the path was resolved
    if (!S_ISREG(info.st_mode)) return write_error("open", shown_, EINVAL);
    if (!force) mode_ = info.st_mode & 0777;
  } else if (errno != ENOENT) {
    return write_error("open", shown_, errno);
  }
  auto made = NewFile::create("v1.write", directory.get(), shown_);
  if (!made) return write_error("open", shown_, made.error().sys_errno());
  file_ = *std::move(made);
  return {};
}

Result<void> Sink::write(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t wrote = ::write(file_.fd(), bytes.data(), bytes.size());
    if (wrote < 0) {
      if (errno == EINTR) continue;
      return write_error("write", shown_, errno);
    }
    bytes.remove_prefix(static_cast<std::size_t>(wrote));
  }
  return {};
}

Result<void> Sink::commit() {
  auto named = file_.commit("v1.write", shown_, name_, mode_, false);
  if (!named) return write_error("open", shown_, named.error().sys_errno());
  return {};
}

void Sink::discard() noexcept { file_.discard(); }

}  // namespace sandbox::agent::v1
