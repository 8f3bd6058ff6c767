#pragma once

#include <chrono>
#include <string>
#include <vector>

#include <sandbox/limits.hpp>

namespace sandbox {

/// Which unpacked layers Runtime::prune() removes. What a template is, or stands on, and what a sandbox or a process uses
/// stays in any case. A layer of an archive that is gone is unpacked again when it is asked for.
struct PruneOptions {
  PruneOptions() = default;
  std::chrono::seconds unused_for = std::chrono::hours(24 * 7);  ///< since its last use ended, as far as that is known
  bool dry_run = false;                                          ///< only tell
};

/// A layer that nothing uses.
struct PrunedLayer {
  std::string digest;   ///< SHA-256 of the unpacked archive or template, 64 hex digits
  ByteCount size;       ///< on disk
  std::chrono::system_clock::time_point last_used;
};

}  // namespace sandbox
