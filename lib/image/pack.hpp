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

/// Writes root/, tmp/, shm/ and upper/ of `directory` (those that exist) as a pax archive that depends on nothing but their
/// content: names sorted by bytes, owners less `first_id` (outside the 65536 ids: 65534), mtimes in nanoseconds, no other
/// times, links by first name, holes kept (GNU sparse 1.0), user.* attributes sorted. Below upper/, overlay whiteouts
/// become ".wh." members. `comment` goes first and is part of the content.
///
/// The content is hostile but frozen: it is walked with openat2 through no symlink and across no mount, and a file that
/// changes nevertheless is cut or filled with zeros. Errors: resource_exhausted (more than 256 levels deep, a file beyond
/// 1 TiB), by errno, and what `sink` says.
Result<PackSummary> pack(int directory, std::uint32_t first_id, const std::string& comment, const Sink& sink);

}  // namespace sandbox::image
