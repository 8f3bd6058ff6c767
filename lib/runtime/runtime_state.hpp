#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include <sandbox/runtime.hpp>

#include "aio/reactor.hpp"
#include "backend/backend.hpp"
#include "image/store.hpp"
#include "pool/policy.hpp"
#include "runtime/entrance.hpp"
#include "runtime/exit_monitor.hpp"
#include "runtime/local_box.hpp"
#include "runtime/refill_threads.hpp"
#include "runtime/spec_record.hpp"
#include "runtime/worker_threads.hpp"

namespace sandbox::runtime {

/// One spec (with one state of its image): its recipe and its pool. `key`, `spec`, `name` never change; the recipe is
/// guarded by prepare_mutex, the rest by the runtime's lock.
struct Profile {
  Profile(std::string profile_key, SandboxSpec sandbox_spec, std::string readable, backend::Backend& maker,
          pool::PolicyOptions options, const core::Clock& clock)
      : key(std::move(profile_key)), spec(std::move(sandbox_spec)), name(std::move(readable)), encoded_spec(encode_spec(spec)),
        backend(maker), policy(options, clock) {}

  const std::string key;
  const SandboxSpec spec;
  const std::string name;
  const std::string encoded_spec;   ///< for the records of a persistent runtime
  backend::Backend& backend;

  std::mutex prepare_mutex;
  std::shared_ptr<backend::Recipe> recipe;
  std::shared_ptr<void> image_pin;

  pool::PoolPolicy policy;
  std::deque<std::shared_ptr<LocalBox>> ready;  ///< oldest first
  std::optional<Error> last_failure;            ///< of a refill; none after one succeeded
  std::uint32_t alive = 0;                      ///< boxes in any phase
  core::TimePoint last_used{};
};

}  // namespace sandbox::runtime

namespace sandbox {

/// Everything a Runtime owns. Boxes keep it alive; close() breaks the circle. Thread-safe.
class RuntimeState : public std::enable_shared_from_this<RuntimeState> {
 public:
  /// With the native backend. Errors as Runtime::open.
  static Result<std::shared_ptr<RuntimeState>> open(RuntimeOptions options);
  /// With these backends; the first is asked for the host report. At least one.
  static Result<std::shared_ptr<RuntimeState>> open_with(RuntimeOptions options,
                                                         std::vector<std::unique_ptr<backend::Backend>> backends);
  ~RuntimeState();

  Result<std::shared_ptr<driver::Box>> create();
  Result<std::shared_ptr<driver::Box>> create(const SandboxSpec& spec, const CreateOptions& options);
  /// `done` runs on the reactor thread, never inside this call. Returns what cancels it while it waits for admission.
  /// A persistent runtime that finds the sandbox after our death finds `note` with it: it is told before `done` runs.
  std::function<void()> async_create(SandboxSpec spec, CreateOptions options,
                                     std::function<void(Result<std::shared_ptr<driver::Box>>)> done, std::string note = {});
  Result<void> wait_warm(core::TimePoint deadline);
  Result<void> set_warm(const SandboxSpec& spec, std::uint32_t count);
  std::vector<PoolStats> pools() const;
  std::size_t live() const;
  Result<void> remove_template(const std::string& id);
  const HostReport& host() const noexcept { return host_; }
  /// What a proof is bound to: the first backend's policy, this build, kernel and host.
  Result<std::vector<std::string>> policy();
  Result<void> close();
  /// As Runtime::leave().
  Result<void> leave();
  /// What was taken over and nobody has asked for yet.
  struct Adopted {
    struct One {
      std::shared_ptr<driver::Box> box;
      std::string note;  ///< of its async_create()
    };
    std::vector<One> boxes;
    std::vector<LostSandbox> lost;
  };
  Adopted take_adopted();
  Result<std::vector<PrunedLayer>> prune(const PruneOptions& options);
  /// Removes a few layers that nothing uses, on a thread of chores(): RuntimeOptions::prune_after().
  void prune_later();
  bool closed() const noexcept { return closing_.load(std::memory_order_acquire); }

  image::ImageStore& store() noexcept { return *store_; }
  aio::Reactor& reactor() noexcept { return *reactor_; }
  /// Threads for short blocking work nobody waits for.
  runtime::WorkerThreads& chores() noexcept { return chores_; }
  /// Queues an event for the observer; nothing without one.
  void emit(RuntimeEvent::Kind kind, std::string sandbox_id, std::string detail);
  /// Tells the log callback, on the calling thread.
  void log(LogLevel level, std::string_view text) const;

  // -- for LocalBox --------------------------------------------------------------------------------------------------
  void unwatch(const backend::Instance& instance) noexcept;
  /// Waits for the agent's hello and checks where it comes from and what it sees of its confinement.
  Result<void> greet(backend::Instance& instance, link::Link& link, core::TimePoint deadline);
  /// `box` holds nothing any more: its place is free.
  void released(runtime::LocalBox& box);

 private:
  using BoxPtr = std::shared_ptr<runtime::LocalBox>;
  using ProfilePtr = std::shared_ptr<runtime::Profile>;
  static constexpr unsigned kMaxRefills = 2;

  explicit RuntimeState(RuntimeOptions options);
  Result<void> start(std::vector<std::unique_ptr<backend::Backend>> backends);

  backend::Backend* find_backend(const std::string& name) const;

  // -- profiles.cpp
  Result<ProfilePtr> profile_of(const SandboxSpec& spec);
  void forget_unused_profiles();
  void forget_profiles_unused_for(std::chrono::seconds time);
  Result<std::shared_ptr<backend::Recipe>> prepare(runtime::Profile& profile);

  // -- making.cpp
  static std::string new_id();
  Result<std::shared_ptr<link::Link>> connect(backend::Instance& instance, const SandboxSpec& spec);
  Result<BoxPtr> make_once(const ProfilePtr& profile, core::TimePoint deadline);
  Result<BoxPtr> make(const ProfilePtr& profile, core::TimePoint deadline);

  // -- creating.cpp
  BoxPtr take_ready(runtime::Profile& profile, std::string_view note);
  void hand_over(const BoxPtr& box);
  Result<BoxPtr> create_slow(const ProfilePtr& profile, const CreateOptions& options, core::TimePoint deadline,
                             runtime::Entrance::Cancellation* cancellation, std::string_view note);

  // -- refilling.cpp
  core::TimePoint look_after_pools(std::unique_lock<std::mutex>& lock);
  void refill(std::unique_lock<std::mutex>& lock, const ProfilePtr& profile);
  void discard_idle(std::unique_lock<std::mutex>& lock);

  // -- ending.cpp
  void on_exit(std::uint64_t token);
  Result<void> shut_down(bool leave);

  // -- adoption.cpp
  ProfilePtr profile_of_adopted(const SandboxSpec& spec, backend::Backend& maker);
  Result<void> adopt_all(backend::Backend& maker);
  Result<void> commit(runtime::LocalBox& box, const runtime::Profile& profile, std::string_view note);

  const RuntimeOptions options_;
  const core::Clock clock_;
  HostReport host_;
  std::unique_ptr<image::ImageStore> store_;
  std::vector<std::unique_ptr<backend::Backend>> backends_;
  std::unique_ptr<aio::Reactor> reactor_;
  std::unique_ptr<runtime::ExitMonitor> monitor_;
  runtime::WorkerThreads creators_{"sandbox-create", 8};
  runtime::WorkerThreads chores_{"sandbox-chores", 4};

  mutable std::mutex mutex_;
  runtime::RefillThreads refillers_{mutex_};
  std::unordered_map<std::string, ProfilePtr> profiles_;
  ProfilePtr default_profile_;
  std::unordered_map<std::uint64_t, std::weak_ptr<runtime::LocalBox>> boxes_;
  runtime::Entrance entrance_;
  std::condition_variable warm_changed_;
  std::condition_variable idle_changed_;
  unsigned in_flight_ = 0;  ///< creates of callers between their start and their end
  std::uint64_t last_token_ = 0;
  std::size_t live_ = 0;
  std::atomic<bool> closing_{false};
  std::atomic<std::uint64_t> restarts_seen_{0};

  Adopted adopted_;  ///< from start() until it is taken

  std::mutex close_mutex_;
  bool closed_ = false;
};

}  // namespace sandbox
