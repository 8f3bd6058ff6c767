#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include <sandbox/result.hpp>

#include "image/store.hpp"

namespace sandbox::image {

/// Of archives, read and written: path components of a name, and whose the files of ids above 65535 are.
inline constexpr std::size_t kMaxDepth = 256;
inline constexpr std::uint32_t kNobody = 65534;

/// Fills `buffer` and returns how much; 0 is the end.
using Source = std::function<Result<std::size_t>(std::span<std::byte> buffer)>;

struct UnpackOptions {
  UnpackLimits limits;
  /// Names ".wh.x" below upper/ become overlay whiteouts of x (opaque markers likewise); otherwise ".wh.x" removes an
  /// earlier x of the same archive.
  bool overlay_whiteouts = false;
  std::string name;  ///< for messages
  std::function<void(const std::string&)> on_progress;
};

struct UnpackSummary {
  std::uint64_t entries = 0;
  std::uint64_t bytes = 0;
  std::uint64_t skipped = 0;  ///< devices, FIFOs, sockets
};

/// Unpacks a tar archive (plain, gzip or zstd) into `directory`, which should be empty and nobody else's. No entry can
/// land outside: names are walked with openat2 beneath it, through no symlink, whatever the archive made before.
///
/// Kept: type, permission bits without setuid and setgid, owner (ids above 65535 become 65534; not root: the caller's),
/// mtime, hard links, symlinks, sparse files, user.* attributes. Absolute names are taken as relative to the root.
/// Errors: invalid_argument (".." or a symlink on the way, not a tar), corrupt (damaged), resource_exhausted (limits,
/// disk), and what `source` says.
Result<UnpackSummary> unpack(const Source& source, int directory, const UnpackOptions& options);

}  // namespace sandbox::image
