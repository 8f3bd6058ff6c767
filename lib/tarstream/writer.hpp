#pragma once

#include <string>

#include "tarstream/member.hpp"

namespace sandbox::tarstream {

/// Header blocks of `member`: ustar, preceded by a pax extended header when a name is too long to split, a number too
/// large, or the time has a fraction. The caller sends `member.size` bytes of content and padding(size) zeros after it.
std::string encode_header(const Member& member);

/// What ends an archive: this many zero bytes.
inline constexpr std::size_t kTrailer = 2 * kBlock;

}  // namespace sandbox::tarstream
