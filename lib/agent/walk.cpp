#include "agent/walk.hpp"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

#include "agent/fs_support.hpp"

namespace sandbox::agent {

namespace {

/// What getdents64(2) writes, before the name.
struct DirentHead {
  std::uint64_t inode;
  std::int64_t offset;
  std::uint16_t size;
  std::uint8_t type;
};
constexpr std::size_t kNameAt = 19;  // packed: 8 + 8 + 2 + 1

}  // namespace

bool DirectoryReader::next(Entry& entry) {
  for (;;) {
    if (begin_ == end_) {
      if (!buffer_) buffer_.reset(new char[kBuffer]);
      const long got = ::syscall(SYS_getdents64, fd_.get(), buffer_.get(), kBuffer);
      begin_ = end_ = 0;
      if (got <= 0) {
        // ENOENT: the directory was removed while we read it; it is empty then.
        error_ = got < 0 && errno != ENOENT ? errno : 0;
        return false;
      }
      end_ = static_cast<std::uint32_t>(got);
    }
    const char* at = buffer_.get() + begin_;
    DirentHead head;
    std::memcpy(&head, at, kNameAt);
    begin_ += head.size;
    cookie_ = head.offset;
    const char* name = at + kNameAt;
    if (name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'))) continue;
    entry.name = name;
    entry.type = file_type_of_dirent(head.type);
    return true;
  }
}

void DirectoryReader::rewind() {
  ::lseek(fd_.get(), 0, SEEK_SET);
  begin_ = end_ = 0;
  cookie_ = 0;
  error_ = 0;
}

void DirectoryReader::suspend() noexcept {
  fd_.reset();
  buffer_.reset();
  begin_ = end_ = 0;
}

void DirectoryReader::resume(core::UniqueFd directory) {
  fd_ = std::move(directory);
  ::lseek(fd_.get(), cookie_, SEEK_SET);
}

TreeWalk::TreeWalk(core::UniqueFd root) : root_(root.get()) {
  levels_.push_back({DirectoryReader(std::move(root)), 0});
}

TreeWalk::Step TreeWalk::next() {
  if (levels_.empty()) return Step::done;
  Level& level = levels_.back();
  path_.resize(level.path_size);
  if (level.reader.suspended()) {
    --suspended_;
    auto directory = open_beneath(root_, path_, O_RDONLY | O_DIRECTORY);
    if (!directory) {
      error_ = errno;  // moved away or replaced by the guest
      levels_.pop_back();
      return Step::error;
    }
    resume(level, std::move(directory));
  }
  DirectoryReader::Entry entry;
  if (level.reader.next(entry)) {
    if (!path_.empty()) path_ += '/';
    name_at_ = path_.size();
    path_ += entry.name;
    type_ = entry.type;
    return Step::entry;
  }
  error_ = level.reader.error();
  if (suspended_ > 0 && suspended_ == levels_.size() - 2) {
    // From the root it would be one lookup a level, and quadratic for a tree that is thousands deep.
    Level& above = levels_[suspended_];
    if (auto directory = parent_of(level.reader.fd(), above)) {
      resume(above, std::move(directory));
      --suspended_;
    }
  }
  levels_.pop_back();
  if (error_) return Step::error;
  return levels_.empty() ? Step::done : Step::leave;
}

void TreeWalk::resume(Level& level, core::UniqueFd directory) {
  ++reopened_;
  level.reader.resume(std::move(directory));
}

core::UniqueFd TreeWalk::parent_of(int child, const Level& level) {
  core::UniqueFd directory(::openat(child, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  struct stat info;
  if (directory && ::fstat(directory.get(), &info) == 0 && info.st_dev == level.device && info.st_ino == level.inode) return directory;
  return {};
}

int TreeWalk::descend() {
  Level& level = levels_.back();
  core::UniqueFd directory(::openat(level.reader.fd(), name(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!directory) return errno;
  if (levels_.size() - suspended_ > kOpenLevels) {
    // Not the one just left: a wide directory at the bottom would be found again after each of its children.
    Level& highest = levels_[suspended_ + 1];
    struct stat info;
    if (::fstat(highest.reader.fd(), &info) == 0) {
      highest.device = info.st_dev;
      highest.inode = info.st_ino;
    }
    highest.reader.suspend();
    ++suspended_;
  }
  levels_.push_back({DirectoryReader(std::move(directory)), path_.size()});
  return 0;
}

}  // namespace sandbox::agent
