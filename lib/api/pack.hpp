#pragma once

#include <string>
#include <vector>

#include <sandbox/fs.hpp>

#include "core/unique_fd.hpp"

namespace sandbox::api {

/// A directory of this host as a tar stream, made while it is read. Follows no symlink. Devices, sockets and FIFOs are
/// left out; owners become root, setuid, setgid and sticky bits are dropped.
class Packer {
 public:
  static constexpr std::size_t kMaxDepth = 256;

  explicit Packer(core::UniqueFd directory);
  /// A ByteSource: fills `buffer`, 0 at the end. Errors: those of the host's file system; unavailable when a file
  /// became shorter meanwhile.
  Result<std::size_t> read(std::span<std::byte> buffer);
  const std::vector<std::string>& skipped() const noexcept { return skipped_; }

 private:
  struct Level {
    core::UniqueFd directory;
    std::string prefix;              ///< of its entries' names: "" or "a/b/"
    std::vector<std::string> names;  ///< reversed: the next is at the back
  };
  Result<void> enter(core::UniqueFd directory, std::string prefix);
  /// Puts the next header into pending_ and opens its content. At the end: the trailer.
  Result<void> advance();

  core::UniqueFd root_;
  std::vector<Level> levels_;
  core::UniqueFd file_;
  std::string file_name_;
  std::uint64_t remaining_ = 0;   ///< of the file's content
  std::string pending_;           ///< header or padding bytes
  std::size_t pending_used_ = 0;
  std::uint64_t padding_ = 0;     ///< after the content
  bool started_ = false, ended_ = false;
  std::vector<std::string> skipped_;
};

}  // namespace sandbox::api
