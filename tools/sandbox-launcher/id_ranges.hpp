#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include <sandbox/result.hpp>

#include "core/unique_fd.hpp"

/// Host ids for sandboxes: 65536 each, from ranges that no other launcher on this host uses.
///
/// Ids from 0x70000000 (1879048192, above what distributions hand out, see uid_gid.md of systemd) to 0xeffeffff are cut
/// into groups of 64 sandboxes. A launcher that needs a group locks one byte of <lock directory>/ids with an
/// open-file-description lock (fcntl(2), F_OFD_SETLK): the byte's offset is the group's number. The kernel drops the
/// locks of a launcher that died.
namespace sandbox::launcher {

class IdRanges {
 public:
  /// Errors: from making or opening the lock file.
  static Result<IdRanges> open(const std::string& lock_directory);
  /// First id of a range. The one freed longest ago comes first. Errors: resource_exhausted.
  Result<std::uint32_t> acquire();
  void release(std::uint32_t first_id) { free_.push_back(first_id); }

 private:
  core::UniqueFd lock_;
  std::deque<std::uint32_t> free_;
  std::uint32_t next_group_ = 0;
};

}  // namespace sandbox::launcher
