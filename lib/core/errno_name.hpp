#pragma once
#include <string_view>

namespace sandbox::core {
/// "ENOENT" for ENOENT; "E?" for a number without a name here. (glibc's strerrorname_np does not exist in musl.)
std::string_view errno_name(int number) noexcept;
}  // namespace sandbox::core
