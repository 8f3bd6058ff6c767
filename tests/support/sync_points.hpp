#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

/// The sync points of a program as it stands on disk (core/sync_point.hpp, ADR 0014).
namespace sandbox::testing {

/// Name -> addresses as linked, more than one where a point was inlined or cloned. Empty for a program without any; throws
/// std::runtime_error for a file that is no 64-bit ELF program.
std::map<std::string, std::vector<std::uint64_t>> sync_points(const std::string& program);

}  // namespace sandbox::testing
