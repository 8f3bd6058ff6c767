#pragma once

#include <string>
#include <vector>

#include <sandbox/prove.hpp>
#include <sandbox/result.hpp>

namespace sandbox::runtime {

/// A backend's policy with what else a proof depends on: build, kernel, host, and as whom we run.
std::vector<std::string> complete_policy(std::vector<std::string> of_backend);
/// SHA-256 of the lines, each ended by a line feed.
std::string policy_digest(const std::vector<std::string>& lines);

/// A complete report that passed, for whatever policy. Errors: failed_precondition (there is none, it failed, it is not whole),
/// permission_denied (others could have written it), corrupt. All that can be mended say what to run.
Result<ProveReport> read_proof(const std::string& path);
/// Whether the report at `path` passed for `policy`. Errors: those of read_proof(), failed_precondition (it is for another
/// build, host or policy: names the first difference).
Result<void> check_proof(const std::string& path, const std::vector<std::string>& policy);

}  // namespace sandbox::runtime
