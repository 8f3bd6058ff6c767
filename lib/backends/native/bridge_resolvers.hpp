#pragma once

#include <string>
#include <vector>

#include <sandbox/result.hpp>

namespace sandbox::native {

/// What etc/resolv.conf says in a sandbox with Network::bridge. The host's own file will not do: its servers are the
/// host itself or private more often than not, which is what a sandbox cannot reach.
/// `addresses`: at most three IPv4 addresses (resolv.conf(5) reads no more); none: two public services.
/// Errors: invalid_argument (no IPv4 address, or more than three).
Result<std::string> bridge_resolv_conf(const std::vector<std::string>& addresses);

}  // namespace sandbox::native
