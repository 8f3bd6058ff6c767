#pragma once

#include <fcntl.h>
#include <time.h>

#include <cerrno>
#include <cstdint>
#include <utility>

#include <sandbox/result.hpp>

#include "child.hpp"
#include "core/unique_fd.hpp"

/// What the launcher's own files share.
namespace sandbox::launcher {

// What the server's epoll instance says of a descriptor.
inline constexpr std::uint64_t kControlKey = 0, kBridgeKey = 3, kRendezvousKey = 7;
constexpr std::uint64_t exit_key(std::uint64_t id) { return id << 2 | 1; }
constexpr std::uint64_t connection_key(std::uint64_t id) { return id << 2 | 2; }

inline std::uint64_t now_ns() {
  timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1000000000u + static_cast<std::uint64_t>(now.tv_nsec);
}

/// Long-lived descriptors live high, so that a child's copy of the table (below kFirstKeptFd) stays small.
inline Result<core::UniqueFd> keep(core::UniqueFd fd) {
  const int high = ::fcntl(fd.get(), F_DUPFD_CLOEXEC, kFirstKeptFd);
  if (high < 0) return Error::from_errno(errno, "native.fds");
  return core::UniqueFd(high);
}

}  // namespace sandbox::launcher
