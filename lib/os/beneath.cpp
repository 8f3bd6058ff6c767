#include "os/beneath.hpp"

#include <dirent.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "os/syscalls.hpp"

namespace sandbox::os::beneath {
namespace {

constexpr const char* kOpen = "file.open";

Error failure(int number, const char* operation, std::string_view path) {
  return Error::from_errno(number, operation, path);
}

Result<core::UniqueFd> open_resolved(int directory, std::string_view path, int flags, std::uint64_t resolve, mode_t mode) {
  if (path.find('\0') != path.npos) return failure(EINVAL, kOpen, path);
  const std::string text(path.empty() ? std::string_view(".") : path);
  open_how how{};
  how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC);
  how.mode = flags & (O_CREAT | O_TMPFILE) & ~O_DIRECTORY ? mode : 0;
  how.resolve = resolve;
  for (int attempt = 0;; ++attempt) {
    const int fd = openat2(directory, text.c_str(), how);
    if (fd >= 0) return core::UniqueFd(fd);
    // EAGAIN: a rename elsewhere raced with ".." handling (openat2(2)); EINTR: a slow file system.
    if ((fd == -EAGAIN || fd == -EINTR) && attempt < 64) continue;
    return failure(-fd, kOpen, path);
  }
}

Result<void> remove_entry(int parent, const char* name, dev_t device, int depth) {
  if (::unlinkat(parent, name, 0) == 0 || errno == ENOENT) return {};
  if (errno != EISDIR && errno != EPERM && errno != ENOTEMPTY) return failure(errno, "file.remove", name);
  if (depth > 1024) return failure(ELOOP, "file.remove", name);
  core::UniqueFd directory(::openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!directory) return failure(errno, "file.remove", name);
  struct stat info {};
  if (::fstat(directory.get(), &info) != 0) return failure(errno, "file.remove", name);
  if (info.st_dev != device) return failure(EXDEV, "file.remove", name);
  SANDBOX_TRY(auto names, list(directory.get(), "."));
  for (const std::string& inner : names) SANDBOX_CHECK(remove_entry(directory.get(), inner.c_str(), device, depth + 1));
  if (::unlinkat(parent, name, AT_REMOVEDIR) != 0 && errno != ENOENT) return failure(errno, "file.remove", name);
  return {};
}

}  // namespace

Result<core::UniqueFd> open(int directory, std::string_view path, int flags, Symlinks symlinks, mode_t mode) {
  const std::uint64_t resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS |
                                (symlinks == Symlinks::refuse ? RESOLVE_NO_SYMLINKS : 0);
  return open_resolved(directory, path, flags, resolve, mode);
}

Result<Parent> open_parent(int directory, std::string_view path) {
  const std::size_t slash = path.rfind('/');
  const std::string_view name = slash == path.npos ? path : path.substr(slash + 1);
  if (name.empty() || name == "." || name == ".." || name.find('\0') != name.npos)
    return failure(EINVAL, kOpen, path);
  const std::string_view parent = slash == path.npos ? std::string_view(".") : path.substr(0, slash);
  if (slash == 0) return failure(EXDEV, kOpen, path);
  SANDBOX_TRY(auto fd, open(directory, parent, O_PATH | O_DIRECTORY));
  return Parent{std::move(fd), std::string(name)};
}

Result<void> make_directory(int directory, std::string_view path, mode_t mode) {
  SANDBOX_TRY(auto parent, open_parent(directory, path));
  if (::mkdirat(parent.directory.get(), parent.name.c_str(), mode) != 0) return failure(errno, "file.mkdir", path);
  return {};
}

Result<core::UniqueFd> make_directories(int directory, std::string_view path, mode_t mode) {
  SANDBOX_TRY(auto current, open(directory, ".", O_RDONLY | O_DIRECTORY));
  while (!path.empty()) {
    const std::size_t slash = path.find('/');
    const std::string name(path.substr(0, slash));
    path = slash == path.npos ? std::string_view() : path.substr(slash + 1);
    if (name.empty() || name == ".") continue;
    if (name == "..") return failure(EINVAL, "file.mkdir", name);
    if (::mkdirat(current.get(), name.c_str(), mode) != 0 && errno != EEXIST) return failure(errno, "file.mkdir", name);
    SANDBOX_TRY(auto next, open(current.get(), name, O_RDONLY | O_DIRECTORY));
    current = std::move(next);
  }
  return current;
}

Result<std::string> read_file(int directory, std::string_view path, std::size_t limit, Symlinks symlinks) {
  // O_NONBLOCK so that a FIFO cannot hold us up before its type is looked at.
  SANDBOX_TRY(auto file, open(directory, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, symlinks));
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) return failure(errno, "file.read", path);
  if (!S_ISREG(info.st_mode)) return failure(EINVAL, "file.read", path);
  std::string content;
  for (;;) {
    const std::size_t before = content.size();
    // One byte beyond the limit tells "exactly full" from "too long"; /proc files have size 0.
    const std::size_t step = std::min<std::size_t>(limit + 1 - before, std::max<std::size_t>(65536, static_cast<std::size_t>(info.st_size) + 1));
    content.resize(before + step);
    const ssize_t count = ::read(file.get(), content.data() + before, step);
    if (count < 0 && errno == EINTR) {
      content.resize(before);
      continue;
    }
    if (count < 0) return failure(errno, "file.read", path);
    content.resize(before + static_cast<std::size_t>(count));
    if (content.size() > limit) return failure(EFBIG, "file.read", path);
    if (count == 0) return content;
  }
}

Result<void> write_new_file(int directory, std::string_view path, std::string_view content, mode_t mode) {
  SANDBOX_TRY(auto file, open(directory, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, Symlinks::refuse, mode));
  while (!content.empty()) {
    const ssize_t count = ::write(file.get(), content.data(), content.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return failure(errno, "file.write", path);
    content.remove_prefix(static_cast<std::size_t>(count));
  }
  return {};
}

Result<struct stat> status(int directory, std::string_view path) {
  struct stat info {};
  SANDBOX_TRY(auto file, open(directory, path, O_PATH | O_NOFOLLOW, Symlinks::follow));
  if (::fstat(file.get(), &info) != 0) return failure(errno, "file.stat", path);
  return info;
}

Result<void> remove_tree(int directory, std::string_view path) {
  auto parent = open_parent(directory, path);
  if (!parent) {
    if (parent.error().sys_errno() == ENOENT) return {};
    return std::move(parent).error();
  }
  struct stat info {};
  if (::fstatat(parent->directory.get(), parent->name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno == ENOENT) return {};
    return failure(errno, "file.remove", path);
  }
  return remove_entry(parent->directory.get(), parent->name.c_str(), info.st_dev, 0);
}

Result<std::vector<std::string>> list(int directory, std::string_view path) {
  SANDBOX_TRY(auto fd, open(directory, path, O_RDONLY | O_DIRECTORY));
  DIR* stream = ::fdopendir(fd.get());
  if (!stream) return failure(errno, "file.list", path);
  (void)fd.release();  // the stream owns it now
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = ::readdir(stream)) {
    const std::string_view name(entry->d_name);
    if (name != "." && name != "..") names.emplace_back(name);
    errno = 0;
  }
  const int number = errno;
  ::closedir(stream);
  if (number != 0) return failure(number, "file.list", path);
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace sandbox::os::beneath
