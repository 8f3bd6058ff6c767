#pragma once

#include <string>

#include <sandbox/runtime.hpp>

namespace sandbox::runtime {

/// Where a runtime with these options keeps its state: as named, from SANDBOX_STATE_DIR, or the user's default. Absolute.
std::string state_directory(const RuntimeOptions& options);

}  // namespace sandbox::runtime
