#pragma once

#include <cstdint>
#include <string>

/// Tar as a stream of members: POSIX.1-2017 pax "ustar Interchange Format" and the GNU additions found in the wild.
namespace sandbox::tarstream {

enum class Kind : std::uint8_t {
  file, hardlink, symlink, character, block, directory, fifo,
  other,   ///< sparse files, volume labels, dump directories: content cannot be taken literally
};

/// What one header says, after pax and GNU extensions were applied.
struct Member {
  std::string name;             ///< bytes as in the archive, trailing slashes of directories removed; unchecked
  std::string link;             ///< target of a symlink or hardlink
  Kind kind = Kind::file;
  std::uint64_t size = 0;       ///< bytes of content in the stream
  std::uint32_t mode = 0;       ///< permission bits with setuid, setgid, sticky
  std::uint64_t uid = 0, gid = 0;
  std::int64_t modified_ns = 0; ///< since the Unix epoch
  std::uint32_t major = 0, minor = 0;  ///< of devices
};

inline constexpr std::size_t kBlock = 512;
inline constexpr std::size_t kMaxExtension = 1 << 20;  ///< bytes of one pax header or GNU long name
inline constexpr std::size_t kMaxName = 64 << 10;      ///< bytes of one name or link target

/// Zero bytes that follow content of `size` bytes.
constexpr std::size_t padding(std::uint64_t size) noexcept { return static_cast<std::size_t>(-size & (kBlock - 1)); }

}  // namespace sandbox::tarstream
