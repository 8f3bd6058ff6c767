#pragma once

#include <string>
#include <vector>

#include <sandbox/fs.hpp>

#include "core/unique_fd.hpp"
#include "tarstream/reader.hpp"

/// Writes a tar stream from a sandbox to this host. The stream is hostile until shown otherwise: every name is resolved
/// strictly beneath one directory without following a symlink, modes lose setuid, setgid and sticky, ownership is ours,
/// devices and FIFOs are left out, and so are symlinks whose target could lie outside.
namespace sandbox::api {

class Extractor {
 public:
  static constexpr std::uint64_t kMaxEntries = std::uint64_t{1} << 22;
  static constexpr std::size_t kMaxSkipped = 64;  ///< names kept of what was left out

  explicit Extractor(core::UniqueFd directory) : directory_(std::move(directory)) {}

  /// The next bytes of the stream. Errors: corrupt (not a tar, a name that leaves the directory), resource_exhausted
  /// (too many entries, host full), and those of the file system.
  Result<void> feed(ByteView bytes);
  /// The stream ended. Errors: corrupt when it was cut off.
  Result<TransferSummary> finish();

 private:
  Result<void> begin(const tarstream::Member& member);
  Result<void> end();
  Result<void> place_symlink(const std::string& name, const std::string& target);
  Result<void> place_hardlink(const std::string& name, const std::string& target);
  /// Makes way for a new entry: missing parents are created, an old file or link is removed.
  Result<void> clear(const std::string& name);
  void skip(const std::string& name);

  core::UniqueFd directory_;
  tarstream::Reader reader_;
  core::UniqueFd file_;  ///< being written
  std::int64_t modified_ns_ = 0;
  TransferSummary summary_;
};

/// `name` of a tar member as a path relative to the directory: without "." components and double slashes, "" for the
/// directory itself. Errors: corrupt for "..", absolute names and names longer than kMaxPath.
Result<std::string> safe_member_name(std::string_view name);
/// Whether a symlink at `name` (as above) with `target` points beneath the directory: relative, ".." only in front, and
/// not more of them than there are directories above.
bool stays_beneath(std::string_view name, std::string_view target) noexcept;

}  // namespace sandbox::api
