#include "id_ranges.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>

#include "launch/plan.hpp"

#ifndef F_OFD_SETLK
#define F_OFD_SETLK 37
#endif

namespace sandbox::launcher {
namespace {
constexpr std::uint32_t kFirst = 0x70000000, kLast = 0xeffeffff;
constexpr std::uint32_t kGroup = 64 * launch::kIdsPerSandbox;
constexpr std::uint32_t kGroups = (kLast - kFirst + 1) / kGroup;
}  // namespace

Result<IdRanges> IdRanges::open(const std::string& lock_directory) {
  if (::mkdir(lock_directory.c_str(), 0700) != 0 && errno != EEXIST)
    return Error::from_errno(errno, "native.ids", lock_directory);
  IdRanges ranges;
  ranges.lock_ = core::UniqueFd(::open((lock_directory + "/ids").c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!ranges.lock_) return Error::from_errno(errno, "native.ids", lock_directory + "/ids");
  return ranges;
}

Result<std::uint32_t> IdRanges::acquire() {
  while (free_.empty()) {
    if (next_group_ == kGroups)
      return Error(ErrorCode::resource_exhausted, "every range of host ids is in use").with_operation("native.ids");
    struct flock byte {};
    byte.l_type = F_WRLCK;
    byte.l_whence = SEEK_SET;
    byte.l_start = next_group_;
    byte.l_len = 1;
    const std::uint32_t group = next_group_++;
    if (::fcntl(lock_.get(), F_OFD_SETLK, &byte) != 0) {
      if (errno == EAGAIN || errno == EACCES) continue;  // another launcher's
      return Error::from_errno(errno, "native.ids");
    }
    for (std::uint32_t i = 0; i < 64; ++i) free_.push_back(kFirst + group * kGroup + i * launch::kIdsPerSandbox);
  }
  const std::uint32_t first = free_.front();
  free_.pop_front();
  return first;
}

}  // namespace sandbox::launcher
