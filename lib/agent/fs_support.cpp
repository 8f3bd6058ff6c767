#include "agent/fs_support.hpp"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <span>

#include "agent/server.hpp"
#include "core/text.hpp"

namespace sandbox::agent {

Result<void> check_path(std::string_view operation, std::string_view path) {
  const char* problem = nullptr;
  if (path.empty()) problem = "path is empty";
  else if (path.front() != '/') problem = "path is not absolute";
  else if (path.size() > protocol::kMaxPath) problem = "path is longer than 4095 bytes";
  else if (path.find('\0') != std::string_view::npos) problem = "path contains a NUL byte";
  if (!problem) return {};
  return Error(ErrorCode::invalid_argument, problem).with_operation(std::string(operation));
}

Error file_error(int sys_errno, std::string_view operation, std::string_view path) {
  return Error::from_errno(sys_errno, std::string(operation), core::escape_control(path));
}

Error not_regular(std::string_view operation, std::string_view path, mode_t mode) {
  if (S_ISDIR(mode)) return file_error(EISDIR, operation, path);
  const char* kind = S_ISFIFO(mode) ? "FIFO" : S_ISSOCK(mode) ? "socket" : S_ISLNK(mode) ? "symlink" : "device";
  return Error(ErrorCode::invalid_argument, core::escape_control(path) + ": not a regular file but a " + kind)
      .with_operation(std::string(operation));
}

protocol::FileType file_type(mode_t mode) noexcept {
  using protocol::FileType;
  switch (mode & S_IFMT) {
    case S_IFREG: return FileType::regular;
    case S_IFDIR: return FileType::directory;
    case S_IFLNK: return FileType::symlink;
    case S_IFIFO: return FileType::fifo;
    case S_IFSOCK: return FileType::socket;
    case S_IFCHR: return FileType::character;
    case S_IFBLK: return FileType::block;
    default: return FileType::unknown;
  }
}

protocol::FileType file_type_of_dirent(unsigned char type) noexcept { return file_type(DTTOIF(type)); }

std::int64_t nanoseconds(const timespec& time) noexcept {
  return static_cast<std::int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

timespec to_timespec(std::int64_t nanoseconds) noexcept {
  timespec time{};
  time.tv_sec = nanoseconds / 1'000'000'000;
  time.tv_nsec = nanoseconds % 1'000'000'000;
  if (time.tv_nsec < 0) {
    time.tv_nsec += 1'000'000'000;
    --time.tv_sec;
  }
  return time;
}

std::string read_link(int dir, const char* name) {
  char target[protocol::kMaxPath + 1];
  const auto size = ::readlinkat(dir, name, target, sizeof target);
  if (size <= 0) return {};
  return {target, static_cast<std::size_t>(size)};
}

protocol::FsEntry make_entry(std::string path, const struct stat& info, int dir, const char* name) {
  protocol::FsEntry entry;
  entry.path = std::move(path);
  entry.type = file_type(info.st_mode);
  entry.size = static_cast<std::uint64_t>(info.st_size);
  entry.mode = info.st_mode & 07777;
  entry.uid = info.st_uid;
  entry.gid = info.st_gid;
  entry.modified_ns = nanoseconds(info.st_mtim);
  entry.links = info.st_nlink;
  if (S_ISLNK(info.st_mode)) entry.target = read_link(dir, name);
  return entry;
}

Result<core::UniqueFd> open_regular(std::string_view operation, const std::string& path, int flags, mode_t mode) {
  // Opening alone has effects (it releases a FIFO's writer, rewinds a tape): look first. The second look below is for a
  // guest that swaps the file in between; O_NONBLOCK keeps even that from blocking.
  struct stat info;
  if (::stat(path.c_str(), &info) == 0) {
    if (!S_ISREG(info.st_mode)) return not_regular(operation, path, info.st_mode);
  } else if (errno != ENOENT || !(flags & O_CREAT)) {
    return file_error(errno, operation, path);
  }
  core::UniqueFd fd(::open(path.c_str(), flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, mode));
  if (!fd) {
    if (errno == ENXIO) return not_regular(operation, path, S_IFSOCK);
    return file_error(errno, operation, path);
  }
  if (::fstat(fd.get(), &info) != 0) return file_error(errno, operation, path);
  if (!S_ISREG(info.st_mode)) return not_regular(operation, path, info.st_mode);
  return fd;
}

namespace {

std::string_view without_trailing_slashes(std::string_view path) noexcept {
  while (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
  return path;
}

std::string_view last_component(std::string_view path) noexcept {
  path = without_trailing_slashes(path);
  const auto slash = path.rfind('/');
  const auto name = slash == std::string_view::npos ? path : path.substr(slash + 1);
  return name.empty() ? std::string_view(".") : name;
}

}  // namespace

std::string_view parent_of(std::string_view path) noexcept {
  path = without_trailing_slashes(path);
  const auto slash = path.rfind('/');
  if (slash == std::string_view::npos) return ".";
  return slash == 0 ? path.substr(0, 1) : without_trailing_slashes(path.substr(0, slash));
}

Result<Place> open_place(std::string_view operation, std::string_view path) {
  Place place;
  place.dir.reset(::open(std::string(parent_of(path)).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!place.dir) return file_error(errno, operation, path);
  place.name = last_component(path);
  return place;
}

Result<Place> open_followed_place(std::string_view operation, std::string_view path) {
  SANDBOX_TRY(Place place, open_place(operation, path));
  constexpr int kMaxLinks = 40;  // as the kernel: path_resolution(7)
  for (int links = 0; links < kMaxLinks; ++links) {
    const std::string target = read_link(place.dir.get(), place.name.c_str());
    if (target.empty()) return place;
    Place next;
    next.dir.reset(::openat(place.dir.get(), std::string(parent_of(target)).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!next.dir) return file_error(errno, operation, path);
    next.name = last_component(target);
    place = std::move(next);
  }
  return file_error(ELOOP, operation, path);
}

Result<void> make_directories(std::string_view operation, const std::string& path, mode_t mode) {
  // Usually only the last one is missing, or none: try from the end.
  std::string_view rest = without_trailing_slashes(path);
  std::size_t existing = rest.size();
  for (;;) {
    const std::string prefix(rest.substr(0, existing));
    if (::mkdir(prefix.c_str(), existing == rest.size() ? mode : 0755) == 0) break;
    if (errno == EEXIST || errno == EISDIR) {
      struct stat info;
      if (::stat(prefix.c_str(), &info) != 0) return file_error(errno, operation, path);
      if (!S_ISDIR(info.st_mode)) return file_error(existing == rest.size() ? EEXIST : ENOTDIR, operation, path);
      break;
    }
    if (errno != ENOENT || existing <= 1) return file_error(errno, operation, path);
    existing = parent_of(prefix).size();
  }
  while (existing < rest.size()) {
    auto next = rest.find('/', rest.find_first_not_of('/', existing));
    if (next == std::string_view::npos) next = rest.size();
    const std::string prefix(rest.substr(0, next));
    if (::mkdir(prefix.c_str(), next == rest.size() ? mode : 0755) != 0 && errno != EEXIST)
      return file_error(errno, operation, path);
    existing = next;
  }
  return {};
}

core::UniqueFd open_beneath(int root, std::string_view relative, int flags) noexcept {
  while (!relative.empty() && relative.back() == '/') relative.remove_suffix(1);
  if (relative.empty()) return core::UniqueFd(::openat(root, ".", flags | O_CLOEXEC | O_NOFOLLOW));
  if (relative.size() < protocol::kMaxPath) {
    char path[protocol::kMaxPath + 1];
    *std::copy(relative.begin(), relative.end(), path) = '\0';
    open_how how{};
    how.flags = static_cast<std::uint64_t>(static_cast<unsigned>(flags | O_CLOEXEC | O_NOFOLLOW));
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
    const long fd = ::syscall(SYS_openat2, root, path, &how, sizeof how);
    if (fd >= 0 || errno != ENOSYS) return core::UniqueFd(static_cast<int>(fd));
  }
  core::UniqueFd at;
  int current = root;
  for (;;) {
    const auto slash = relative.find('/');
    const auto component = relative.substr(0, slash);
    const bool last = slash == std::string_view::npos;
    if (component == ".." || component.size() > NAME_MAX) {
      errno = component == ".." ? EXDEV : ENAMETOOLONG;
      return {};
    }
    char name[NAME_MAX + 1];
    *std::copy(component.begin(), component.end(), name) = '\0';
    if (!component.empty() || last) {
      const int how = last ? flags | O_NOFOLLOW : O_PATH | O_DIRECTORY | O_NOFOLLOW;
      core::UniqueFd next(::openat(current, name, how | O_CLOEXEC));
      if (!next || last) return next;
      at = std::move(next);
      current = at.get();
    }
    relative.remove_prefix(slash + 1);
  }
}

std::string temporary_name() {
  unsigned char random[8];
  if (::getrandom(random, sizeof random, GRND_NONBLOCK) != sizeof random) {
    static std::uint64_t counter = 0;  // early boot only; names are checked with O_EXCL anyway
    ++counter;
    std::copy_n(reinterpret_cast<const unsigned char*>(&counter), sizeof random, random);
  }
  return std::string(kTemporaryPrefix) + core::to_hex(random, sizeof random);
}

bool is_temporary_name(std::string_view name) noexcept {
  return name.size() == kTemporaryPrefix.size() + 16 && name.starts_with(kTemporaryPrefix) &&
         name.find_first_not_of("0123456789abcdef", kTemporaryPrefix.size()) == std::string_view::npos;
}

NewFile& NewFile::operator=(NewFile&& other) noexcept {
  if (this != &other) {
    discard();
    dir_ = std::move(other.dir_);
    fd_ = std::move(other.fd_);
    temporary_ = std::exchange(other.temporary_, {});
  }
  return *this;
}

Result<NewFile> NewFile::create(std::string_view operation, int dir, std::string_view shown) {
  NewFile file;
  file.dir_.reset(::openat(dir, ".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!file.dir_) return file_error(errno, operation, shown);
  // An unnamed file is named later through /proc.
  if (::access("/proc/self/fd", X_OK) == 0) {
    file.fd_.reset(::openat(dir, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600));
    if (file.fd_) return file;
    if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL && errno != ENOENT)
      return file_error(errno, operation, shown);
  }
  return create_named(operation, dir, shown);
}

Result<NewFile> NewFile::create_named(std::string_view operation, int dir, std::string_view shown) {
  NewFile file;
  file.dir_.reset(::openat(dir, ".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!file.dir_) return file_error(errno, operation, shown);
  for (int attempt = 0;; ++attempt) {
    std::string name = temporary_name();
    file.fd_.reset(::openat(dir, name.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (file.fd_) {
      file.temporary_ = std::move(name);
      return file;
    }
    if (errno != EEXIST || attempt == 8) return file_error(errno, operation, shown);
  }
}

Result<void> NewFile::commit(std::string_view operation, std::string_view shown, const std::string& name, mode_t mode,
                             bool exclusive) {
  if (::fchmod(fd_.get(), mode) != 0) return file_error(errno, operation, shown);
  const bool named = !temporary_.empty();
  if (!named) {
    char self[40];
    ::snprintf(self, sizeof self, "/proc/self/fd/%d", fd_.get());
    const char* linked = name.c_str();
    for (int attempt = 0;; ++attempt) {
      if (::linkat(AT_FDCWD, self, dir_.get(), linked, AT_SYMLINK_FOLLOW) == 0) break;
      if (errno != EEXIST || exclusive || attempt == 8) return file_error(errno, operation, shown);
      temporary_ = temporary_name();  // link(2) cannot replace, rename(2) can
      linked = temporary_.c_str();
    }
    if (temporary_.empty()) {
      fd_.reset();
      return {};
    }
  }
  if (named && ::linkat(dir_.get(), temporary_.c_str(), dir_.get(), name.c_str(), 0) == 0) {
    // A name that is new, and is seen to be new: who watches the directory cannot tell a rename from a replacement.
    ::unlinkat(dir_.get(), temporary_.c_str(), 0);
    temporary_.clear();
    fd_.reset();
    return {};
  }
  if (named && exclusive && errno == EEXIST) return file_error(EEXIST, operation, shown);
  // It replaces what is there, or the file system has no hard links.
  const long renamed = ::syscall(SYS_renameat2, dir_.get(), temporary_.c_str(), dir_.get(), name.c_str(), exclusive ? kRenameNoReplace : 0);
  if (renamed != 0) return file_error(errno, operation, shown);
  temporary_.clear();
  fd_.reset();
  return {};
}

void NewFile::discard() noexcept {
  if (!temporary_.empty()) ::unlinkat(dir_.get(), temporary_.c_str(), 0);
  temporary_.clear();
  fd_.reset();
  dir_.reset();
}

// ---- FileOperation --------------------------------------------------------------------------------------------------

void FileOperation::conclude(protocol::End end) {
  if (ended()) return;
  halt();
  release();
  Operation::conclude(std::move(end));
}

void FileOperation::again() {
  if (slice_ || ended()) return;
  slice_ = context().loop.defer([this] {
    slice_ = 0;
    check(slice());
  });
}

void FileOperation::again_when_sent() {
  if (session().can_message(stream())) again();
}

std::span<std::byte> FileOperation::scratch() noexcept { return context().server.agent().scratch().span(); }
void FileOperation::touched(std::size_t size) noexcept { context().server.agent().scratch().touched(size); }

void FileOperation::halt() noexcept {
  if (slice_) context().loop.cancel_slice(std::exchange(slice_, 0));
}

}  // namespace sandbox::agent
