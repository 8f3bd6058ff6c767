#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <sandbox/result.hpp>

#include "launch/plan.hpp"
#include "protocol/messages.hpp"

namespace sandbox::native {

/// What a sandbox of one recipe must look like from inside.
struct Expectation {
  /// Compared with the namespaces of this process.
  Expectation();
  Expectation(const launch::LaunchPlan& plan, const launch::Prepared& prepared);
  /// Errors: failed_precondition naming the first lock that is not on.
  Result<void> verify(const protocol::Facts& facts) const;

  std::vector<std::string> unenforced;
  std::vector<std::string> mounts;              ///< mount points, sorted
  std::vector<protocol::KeyValue> namespaces;   ///< ours: the sandbox's must differ
  bool writable_root = false, bridge = false;
  bool benchmark_without_network_namespace = false;
  std::uint64_t memory = 0;
  bool holds_layers = false;                    ///< the launcher has locks for it: LaunchPlan::pinned
};

}  // namespace sandbox::native
