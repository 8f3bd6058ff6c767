#pragma once

#include <cstddef>

namespace sandbox::crypto {

/// Bytes as libsodium takes them.
inline unsigned char* raw(std::byte* bytes) noexcept { return reinterpret_cast<unsigned char*>(bytes); }
inline const unsigned char* raw(const std::byte* bytes) noexcept { return reinterpret_cast<const unsigned char*>(bytes); }

}  // namespace sandbox::crypto
