#pragma once

#include <string_view>

namespace sandbox::protocol {

/// "0.1.0+1a2b3c4d5e6f": the version, and a digest of the headers that say what library, launcher and agent tell each
/// other. Programs of different ids do not understand each other and say so instead of trying.
std::string_view build_id() noexcept;

}  // namespace sandbox::protocol
