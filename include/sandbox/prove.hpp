#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <sandbox/result.hpp>

namespace sandbox {

enum class CheckStatus : std::uint8_t {
  passed,
  failed,   ///< a lock is open, or the check itself gave no clear answer
  skipped,  ///< could not be checked here; `seen` says why. Never counts as passed
};
/// "passed", "failed", "skipped".
std::string_view name(CheckStatus status) noexcept;

/// One thing that was tried, inside and as a control outside.
struct CheckAttempt {
  std::string id;              ///< of the probe: "unshare_user"
  std::string verdict;         ///< inside: "blocked", "open" (a hole), "skipped"
  std::string detail;          ///< what the kernel said
  std::string control;         ///< outside: "bites", "host_forbids", "not_run"
  std::string control_detail;
  bool operator==(const CheckAttempt&) const = default;
};

/// One promise, checked. `id` is stable between versions.
struct CheckResult {
  std::string id;              ///< "identity.user_namespaces"
  CheckStatus status = CheckStatus::skipped;
  std::string tried;           ///< one line each
  std::string expected;
  std::string seen;
  std::vector<CheckAttempt> attempts;
  std::chrono::milliseconds duration{0};
};

/// What a run of all checks found, and for which policy that holds.
struct ProveReport {
  static constexpr std::uint32_t kFormat = 1;
  std::uint32_t format = kFormat;
  std::string backend;
  std::string set;                     ///< "quick", "full"; "partial" (ProveOptions::only) and "control" do for no runtime
  std::string build;                   ///< of library, launcher and agent
  std::string kernel;                  ///< release
  std::vector<std::string> policy;     ///< one line per lock, limit and program it holds for
  std::string policy_sha256;           ///< of these lines, each ended by a line feed
  std::chrono::system_clock::time_point finished;
  std::chrono::milliseconds duration{0};
  std::vector<CheckResult> checks;

  std::size_t count(CheckStatus status) const noexcept;
  /// Nothing failed and something passed.
  bool passed() const noexcept { return count(CheckStatus::failed) == 0 && count(CheckStatus::passed) > 0; }
};

class ProveOptions {
 public:
  ProveOptions() = default;
  /// Every check, with 10^5 rounds of every race: minutes. Default: the quick set, below ten seconds.
  ProveOptions& full(bool on = true) & { return full_ = on, *this; }
  ProveOptions&& full(bool on = true) && { return std::move(full(on)); }
  /// Only checks whose id begins with one of these.
  ProveOptions& only(std::vector<std::string> prefixes) & { return only_ = std::move(prefixes), *this; }
  ProveOptions&& only(std::vector<std::string> prefixes) && { return std::move(only(std::move(prefixes))); }
  /// "native", the only one so far.
  ProveOptions& backend(std::string name) & { return backend_ = std::move(name), *this; }
  ProveOptions&& backend(std::string name) && { return std::move(backend(std::move(name))); }
  /// Directory of sandbox-launcher, sandbox-agent and sandbox-probe, as RuntimeOptions::helper_directory.
  ProveOptions& helper_directory(std::string path) & { return helper_directory_ = std::move(path), *this; }
  ProveOptions&& helper_directory(std::string path) && { return std::move(helper_directory(std::move(path))); }
  /// Judges what the control run saw as if it had been seen inside: shows that the checks can fail. The report never passes.
  ProveOptions& without_sandbox(bool on = true) & { return without_sandbox_ = on, *this; }
  ProveOptions&& without_sandbox(bool on = true) && { return std::move(without_sandbox(on)); }
  /// Called after each check, on the calling thread.
  ProveOptions& on_check(std::function<void(const CheckResult&)> callback) & { return on_check_ = std::move(callback), *this; }
  ProveOptions&& on_check(std::function<void(const CheckResult&)> callback) && { return std::move(on_check(std::move(callback))); }

  bool is_full() const noexcept { return full_; }
  const std::vector<std::string>& only() const noexcept { return only_; }
  const std::string& backend() const noexcept { return backend_; }
  const std::string& helper_directory() const noexcept { return helper_directory_; }
  bool is_without_sandbox() const noexcept { return without_sandbox_; }
  const std::function<void(const CheckResult&)>& on_check() const noexcept { return on_check_; }

 private:
  bool full_ = false;
  std::vector<std::string> only_;
  std::string backend_ = "native";
  std::string helper_directory_;
  bool without_sandbox_ = false;
  std::function<void(const CheckResult&)> on_check_;
};

/// Attacks sandboxes of this host from inside and from beside, with controls that show that each attack works where there is
/// no sandbox. Makes a runtime of its own, with a state directory that is removed, in a network of its own where no packet
/// leaves the machine. Blocks; call it from a program without other sandboxes, since it compares what the process holds before
/// and after. Errors: unsupported (backend, host without namespaces), not_found (helpers), those of Runtime::open.
Result<ProveReport> prove_isolation(ProveOptions options = ProveOptions());

/// Ids of all checks, in order; the quick set's only when `full` is false.
std::vector<std::string> check_ids(bool full = true);

/// The report as JSON (docs/THREAT_MODEL.md), which RuntimeOptions::require_proof() takes, and for people.
std::string to_json(const ProveReport& report);
std::string to_text(const ProveReport& report);
/// Errors: invalid_argument (no report, or of another format).
Result<ProveReport> read_prove_report(std::string_view json);

}  // namespace sandbox
