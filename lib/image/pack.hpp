#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <sandbox/bytes.hpp>
#include <sandbox/result.hpp>

namespace sandbox::image {

/// Takes the next piece of the archive.
using Sink = std::function<Result<void>(ByteView)>;

struct PackSummary {
  std::uint64_t entries = 0;
  std::uint64_t bytes = 0;    ///< content of regular files, without holes
  std::uint64_t skipped = 0;  ///< devices, FIFOs, sockets, and names below upper/ that look like whiteouts
};

/// A tree to pack.
struct PackLevel {
  int directory = -1;           ///< holds root/, tmp/, shm/, upper/, or some of them
  std::uint32_t first_id = 0;   ///< host id of uid 0 inside
};

/// Writes root/, tmp/, shm/ and upper/ of `levels`, highest first, as one pax archive. Levels are merged as overlayfs does:
/// a sandbox made from a template holds only its changes, and the template's layer lies underneath. The archive depends on
/// nothing but content: names sorted by bytes, owners less `first_id` (outside the
/// 65536 ids: 65534), mtimes in nanoseconds, no other
/// times, links by first name, holes kept (GNU sparse 1.0), user.* attributes sorted. Below upper/, overlay whiteouts
/// become ".wh." members. `comment` goes first and is part of the content.
///
/// The content is hostile but frozen: it is walked with openat2 through no symlink and across no mount, and a file that
/// changes nevertheless is cut or filled with zeros. Errors: resource_exhausted (more than 256 levels deep, a file beyond
/// 1 TiB), by errno, and what `sink` says.
Result<PackSummary> pack(const std::vector<PackLevel>& levels, const std::string& comment, const Sink& sink);

}  // namespace sandbox::image
