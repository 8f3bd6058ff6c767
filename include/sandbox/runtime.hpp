#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <sandbox/fwd.hpp>
#include <sandbox/pool.hpp>
#include <sandbox/prune.hpp>
#include <sandbox/result.hpp>
#include <sandbox/sandbox.hpp>
#include <sandbox/spec.hpp>

namespace sandbox {

enum class LogLevel : std::uint8_t { debug, info, warning, error };
using LogCallback = std::function<void(LogLevel, std::string_view)>;

/// How to open a Runtime.
class RuntimeOptions {
 public:
  RuntimeOptions() = default;

  /// Keeps `count` sandboxes of `spec` ready (more under demand, up to `max_warm`). Repeatable with other specs.
  RuntimeOptions& warm(std::uint32_t count, SandboxSpec spec = SandboxSpec()) & {
    return warm_.emplace_back(count, std::move(spec)), *this;
  }
  RuntimeOptions&& warm(std::uint32_t count, SandboxSpec spec = SandboxSpec()) && {
    return std::move(warm(count, std::move(spec)));
  }
  /// Most members one pool may hold ready. Default 64.
  RuntimeOptions& max_warm(std::uint32_t count) & { return max_warm_ = count, *this; }
  RuntimeOptions&& max_warm(std::uint32_t count) && { return std::move(max_warm(count)); }
  /// Most sandboxes alive at once, pools included; creates beyond it wait for their deadline. Default 1000.
  RuntimeOptions& max_sandboxes(std::uint32_t count) & { return max_sandboxes_ = count, *this; }
  RuntimeOptions&& max_sandboxes(std::uint32_t count) && { return std::move(max_sandboxes(count)); }
  /// Directory for image layers and templates, created 0700. Default: $SANDBOX_STATE_DIR, else /var/lib/sandbox for
  /// root, else ~/.local/share/sandbox.
  RuntimeOptions& state_directory(std::string path) & { return state_directory_ = std::move(path), *this; }
  RuntimeOptions&& state_directory(std::string path) && { return std::move(state_directory(std::move(path))); }
  /// Directory of sandbox-launcher and sandbox-agent. Default: $SANDBOX_BIN_DIR, else beside this program or library.
  RuntimeOptions& helper_directory(std::string path) & { return helper_directory_ = std::move(path), *this; }
  RuntimeOptions&& helper_directory(std::string path) && { return std::move(helper_directory(std::move(path))); }
  RuntimeOptions& on_event(EventCallback callback) & { return on_event_ = std::move(callback), *this; }
  RuntimeOptions&& on_event(EventCallback callback) && { return std::move(on_event(std::move(callback))); }
  RuntimeOptions& on_log(LogCallback callback) & { return on_log_ = std::move(callback), *this; }
  RuntimeOptions&& on_log(LogCallback callback) && { return std::move(on_log(std::move(callback))); }
  /// Processes that make sandboxes; 0: one per two cores, at least 2, at most 8.
  RuntimeOptions& launchers(std::uint32_t count) & { return launchers_ = count, *this; }
  RuntimeOptions&& launchers(std::uint32_t count) && { return std::move(launchers(count)); }
  /// Unpacked layers that no template, sandbox or process has used for this long are removed in the background, when the
  /// runtime opens and when a template is removed; 0: never. Default 7 days. See Runtime::prune().
  RuntimeOptions& prune_after(std::chrono::seconds time) & { return prune_after_ = time, *this; }
  RuntimeOptions&& prune_after(std::chrono::seconds time) && { return std::move(prune_after(time)); }

  /// Sandboxes that were handed out outlive this process, however it ends (SIGKILL included), until close(), until the
  /// next runtime with the same state directory adopts them, or until nobody came for them for orphan_time(). What was
  /// being made and what waited in a pool ends with this process. One persistent runtime per state directory at a time.
  /// Under systemd: KillMode=process, or the launchers are killed with the service. Default: off.
  RuntimeOptions& persistent(bool on = true) & { return persistent_ = on, *this; }
  RuntimeOptions&& persistent(bool on = true) && { return std::move(persistent(on)); }
  /// How long sandboxes live without a runtime; up to one day. Default 10 min.
  RuntimeOptions& orphan_time(std::chrono::milliseconds time) & { return orphan_time_ = time, *this; }
  RuntimeOptions&& orphan_time(std::chrono::milliseconds time) && { return std::move(orphan_time(time)); }

  /// Opens only with the report at `path` (`sbx prove --report`, sandbox::prove_isolation()): it must have passed, and for this build,
  /// this host's kernel and this policy. Nothing is warmed, adopted or created otherwise. The file must belong to root or to
  /// us and be writable by nobody else. Default: none is asked for.
  RuntimeOptions& require_proof(std::string path) & { return proof_ = std::move(path), *this; }
  RuntimeOptions&& require_proof(std::string path) && { return std::move(require_proof(std::move(path))); }

  const std::vector<std::pair<std::uint32_t, SandboxSpec>>& warm() const noexcept { return warm_; }
  std::uint32_t max_warm() const noexcept { return max_warm_; }
  std::uint32_t max_sandboxes() const noexcept { return max_sandboxes_; }
  const std::string& state_directory() const noexcept { return state_directory_; }
  const std::string& helper_directory() const noexcept { return helper_directory_; }
  const std::string& required_proof() const noexcept { return proof_; }
  const EventCallback& on_event() const noexcept { return on_event_; }
  const LogCallback& on_log() const noexcept { return on_log_; }
  std::uint32_t launchers() const noexcept { return launchers_; }
  std::chrono::seconds prune_after() const noexcept { return prune_after_; }
  bool is_persistent() const noexcept { return persistent_; }
  std::chrono::milliseconds orphan_time() const noexcept { return orphan_time_; }

 private:
  std::vector<std::pair<std::uint32_t, SandboxSpec>> warm_;
  std::uint32_t max_warm_ = 64;
  std::uint32_t max_sandboxes_ = 1000;
  std::string state_directory_;
  std::string helper_directory_;
  std::string proof_;
  EventCallback on_event_;
  LogCallback on_log_;
  std::uint32_t launchers_ = 0;
  std::chrono::seconds prune_after_ = std::chrono::hours(24 * 7);
  bool persistent_ = false;
  std::chrono::milliseconds orphan_time_ = std::chrono::minutes(10);
};

/// How to make one sandbox.
class CreateOptions {
 public:
  CreateOptions() = default;
  /// How long to wait for capacity and creation together. Default 30 s.
  CreateOptions& deadline(std::chrono::milliseconds time) & { return deadline_ = time, *this; }
  CreateOptions&& deadline(std::chrono::milliseconds time) && { return std::move(deadline(time)); }
  /// Always makes a fresh one, even when the pool has one ready.
  CreateOptions& cold() & { return cold_ = true, *this; }
  CreateOptions&& cold() && { return std::move(cold()); }
  std::chrono::milliseconds deadline() const noexcept { return deadline_; }
  bool is_cold() const noexcept { return cold_; }

 private:
  std::chrono::milliseconds deadline_{30000};
  bool cold_ = false;
};

/// What this host can do, measured.
struct HostReport {
  std::string backend;
  bool rootless = false;
  std::vector<std::string> enforced;     ///< locks and limits in force
  std::vector<std::string> unenforced;   ///< what this host cannot enforce, and what that means; one line each
};

/// A sandbox of an earlier runtime that this one could not take over.
struct LostSandbox {
  std::string id;
  std::string reason;   ///< for people: "out of memory (1 killed)", "killed by signal 9", "seen from inside, …"
};

/// What a persistent runtime found when it opened.
struct Adoption {
  std::vector<Sandbox> sandboxes;        ///< usable at once, with the id and spec they were created with; paused ones stay paused
  std::vector<LostSandbox> lost;
};

class RuntimeState;  // lib/runtime

/// Makes sandboxes in this process: owns the launchers, the warm pools and the layer store. Move-only. Sandboxes must
/// not outlive it: closing destroys those that are left. The embedding process is never forked and may have threads.
/// If it dies, even by SIGKILL, every sandbox dies with it and nothing is left behind; unless it is persistent.
class Runtime {
 public:
  /// Starts the launchers and begins to fill the pools (returns before they are full; see wait_warm).
  /// A persistent one first takes over the sandboxes that an earlier runtime left (500 in a second on two cores).
  /// Errors: unsupported (no user namespaces: says what to enable), not_found (helpers), unavailable, already_exists
  /// (another persistent runtime works in the state directory), failed_precondition (library and helpers of different
  /// builds; the required proof is missing, failed or of something else).
  static Result<Runtime> open(RuntimeOptions options = RuntimeOptions());
  Runtime(Runtime&&) noexcept;
  Runtime& operator=(Runtime&&) noexcept;
  ~Runtime();

  /// A sandbox of the default spec: from the warm pool in microseconds when one is ready, otherwise made now.
  /// Errors: resource_exhausted (deadline passed while at max_sandboxes), failed_precondition (a lock or limit that
  /// this host cannot enforce; named), not_found (image), deadline_exceeded, unavailable.
  Result<Sandbox> create();
  Result<Sandbox> create(const SandboxSpec& spec, CreateOptions options = CreateOptions());
  template <class Token> auto async_create(SandboxSpec spec, Token&& token);  ///< void(Result<Sandbox>)
  template <class Token> auto async_create(SandboxSpec spec, CreateOptions options, Token&& token);

  /// Blocks until every pool holds its warm count. Errors: deadline_exceeded, and what a refill failed with.
  Result<void> wait_warm(std::chrono::milliseconds timeout = std::chrono::seconds(30));
  /// Sets the warm count of one spec (0 empties its pool).
  Result<void> set_warm(const SandboxSpec& spec, std::uint32_t count);
  std::vector<PoolStats> pools() const;
  /// Sandboxes handed out and alive.
  std::size_t live() const;

  Result<std::vector<TemplateInfo>> templates() const;
  Result<TemplateInfo> find_template(const std::string& id) const;
  Result<void> remove_template(const std::string& id);
  /// Removes unpacked layers of the state directory that nothing uses, in this process or another, and tells which. One
  /// killed meanwhile leaves whole layers or none. Errors: invalid_argument (a negative time); by errno, for one that does not
  /// go when the others are gone.
  Result<std::vector<PrunedLayer>> prune(const PruneOptions& options = PruneOptions());

  Result<HostReport> host() const;
  /// The sandboxes taken over when this runtime opened; once, later calls return nothing. Destroying a handle destroys
  /// its sandbox, so those not wanted are let go of. What is never taken lives until close(). Running processes, files
  /// and environment are as they were; commands that were streaming to the earlier process lost their stream.
  Adoption adopted();
  /// Ends a persistent runtime like its death would, but tidily: sandboxes handed out go on for the next one to adopt,
  /// pools and launchers without any end. Handles fail with failed_precondition from now on, and destroying them does
  /// nothing. Errors: failed_precondition (not persistent, or closed).
  Result<void> leave();
  /// Destroys every sandbox and ends the launchers. Idempotent; milliseconds.
  Result<void> close();

  explicit Runtime(std::shared_ptr<RuntimeState> state) noexcept : state_(std::move(state)) {}
  const std::shared_ptr<RuntimeState>& state() const noexcept { return state_; }

 private:
  std::shared_ptr<RuntimeState> state_;
};

}  // namespace sandbox
