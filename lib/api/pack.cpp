#include "api/pack.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "os/beneath.hpp"
#include "protocol/messages.hpp"
#include "tarstream/writer.hpp"

namespace sandbox::api {

Packer::Packer(core::UniqueFd directory) : root_(std::move(directory)) {}

Result<void> Packer::enter(core::UniqueFd directory, std::string prefix) {
  if (levels_.size() >= kMaxDepth) {
    return Error(ErrorCode::resource_exhausted, "directories nested deeper than " + std::to_string(kMaxDepth));
  }
  SANDBOX_TRY(auto names, os::beneath::list(directory.get(), "."));
  std::reverse(names.begin(), names.end());
  levels_.push_back({std::move(directory), std::move(prefix), std::move(names)});
  return {};
}

Result<void> Packer::advance() {
  if (!started_) {
    started_ = true;
    SANDBOX_CHECK(enter(std::move(root_), ""));
  }
  while (!levels_.empty()) {
    Level& level = levels_.back();
    if (level.names.empty()) {
      levels_.pop_back();
      continue;
    }
    const std::string entry = std::move(level.names.back());
    level.names.pop_back();
    const int directory = level.directory.get();
    tarstream::Member member;
    member.name = level.prefix + entry;
    struct stat status {};
    if (::fstatat(directory, entry.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOENT) continue;  // gone since it was listed
      return Error::from_errno(errno, "upload.stat", member.name);
    }
    member.mode = status.st_mode & 0777;
    member.modified_ns = std::int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec;
    if (S_ISDIR(status.st_mode)) {
      member.kind = tarstream::Kind::directory;
      const int fd = ::openat(directory, entry.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
      if (fd < 0) return Error::from_errno(errno, "upload.open", member.name);
      SANDBOX_CHECK(enter(core::UniqueFd(fd), member.name + "/"));
    } else if (S_ISLNK(status.st_mode)) {
      member.kind = tarstream::Kind::symlink;
      member.link.resize(protocol::kMaxPath + 1);
      const auto length = ::readlinkat(directory, entry.c_str(), member.link.data(), member.link.size());
      if (length < 0) return Error::from_errno(errno, "upload.readlink", member.name);
      member.link.resize(static_cast<std::size_t>(length));
    } else if (S_ISREG(status.st_mode)) {
      // Opened without blocking and looked at again: it may have become a FIFO meanwhile.
      const int fd = ::openat(directory, entry.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
      if (fd < 0) return Error::from_errno(errno, "upload.open", member.name);
      file_.reset(fd);
      if (::fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
        return Error(ErrorCode::unavailable, "a file changed while it was read").with_detail("name", member.name);
      }
      member.kind = tarstream::Kind::file;
      member.size = remaining_ = static_cast<std::uint64_t>(status.st_size);
      padding_ = tarstream::padding(remaining_);
      file_name_ = member.name;
    } else {
      if (skipped_.size() < 64) skipped_.push_back(member.name);
      continue;
    }
    pending_ = tarstream::encode_header(member);
    return {};
  }
  ended_ = true;
  pending_.assign(tarstream::kTrailer, '\0');
  return {};
}

Result<std::size_t> Packer::read(std::span<std::byte> buffer) {
  std::size_t filled = 0;
  while (filled < buffer.size()) {
    const auto room = buffer.subspan(filled);
    if (pending_used_ < pending_.size()) {
      const auto n = std::min(room.size(), pending_.size() - pending_used_);
      std::memcpy(room.data(), pending_.data() + pending_used_, n);
      pending_used_ += n;
      filled += n;
      continue;
    }
    pending_.clear();
    pending_used_ = 0;
    if (remaining_ > 0) {
      const auto want = static_cast<std::size_t>(std::min<std::uint64_t>(room.size(), remaining_));
      const auto got = ::read(file_.get(), room.data(), want);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return Error::from_errno(errno, "upload.read", file_name_);
      if (got == 0) return Error(ErrorCode::unavailable, "a file became shorter while it was read").with_detail("name", file_name_);
      remaining_ -= static_cast<std::uint64_t>(got);
      filled += static_cast<std::size_t>(got);
    } else if (padding_ > 0) {
      pending_.assign(static_cast<std::size_t>(std::exchange(padding_, 0)), '\0');
    } else if (ended_) {
      break;
    } else {
      file_.reset();
      SANDBOX_CHECK(advance());
    }
  }
  return filled;
}

}  // namespace sandbox::api
