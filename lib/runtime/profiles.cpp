// Which profiles there are, what they are made from, and how a template among that goes away.
#include <sys/random.h>

#include <algorithm>

#include "core/text.hpp"
#include "runtime/profile.hpp"
#include "runtime/runtime_state.hpp"

namespace sandbox {

using runtime::Profile;

namespace {

/// Profiles remembered beyond those that are warm or in use: their recipes make the next cold create cheaper.
constexpr std::size_t kMaxProfiles = 256;
/// Layers that one look removes at most: closing waits for it.
constexpr std::size_t kPrunedAtATime = 8;

pool::PolicyOptions policy_options(std::uint32_t max_warm, std::uint32_t max_refills) {
  pool::PolicyOptions options;
  options.max_warm = max_warm;
  options.max_refills = max_refills;
  std::uint64_t seed = 0;
  if (::getrandom(&seed, sizeof seed, 0) == sizeof seed) options.seed = seed;
  return options;
}

/// Under the runtime's lock. A use_count of 1: nobody is about to use it, and under the lock nobody can start to.
bool is_unused(const std::shared_ptr<Profile>& profile) {
  return profile.use_count() == 1 && profile->policy.floor() == 0 && profile->alive == 0;
}

}  // namespace

Result<RuntimeState::ProfilePtr> RuntimeState::profile_of(const SandboxSpec& spec) {
  std::string key = runtime::profile_key(spec);
  // The identity is part of the key: an image that changed on disk is another profile with another pool.
  if (spec.image().kind() != Image::Kind::host) {
    SANDBOX_TRY(const std::string identity, store_->identity(spec.image()));
    key += '\n';
    key += identity;
  }
  {
    std::lock_guard lock(mutex_);
    if (const auto found = profiles_.find(key); found != profiles_.end()) return found->second;
  }
  SANDBOX_CHECK(runtime::validate(spec));
  backend::Backend* maker = find_backend(spec.backend());
  if (maker == nullptr)
    return Error(ErrorCode::unsupported, "no backend named \"" + core::escape_control(spec.backend()) + "\"").with_operation("runtime.create");
  auto profile = std::make_shared<Profile>(key, spec, runtime::profile_name(spec), *maker,
                                           policy_options(options_.max_warm(), kMaxRefills), clock_);
  std::lock_guard lock(mutex_);
  if (closing_) return runtime::closing_error();
  forget_unused_profiles();
  return profiles_.emplace(std::move(key), std::move(profile)).first->second;
}

void RuntimeState::forget_unused_profiles() {
  if (profiles_.size() < kMaxProfiles) return;
  auto oldest = profiles_.end();
  for (auto it = profiles_.begin(); it != profiles_.end(); ++it) {
    if (!is_unused(it->second)) continue;
    if (oldest == profiles_.end() || it->second->last_used < oldest->second->last_used) oldest = it;
  }
  if (oldest != profiles_.end()) profiles_.erase(oldest);
}

/// And with them what their recipes stand on, which nobody prunes as long as a recipe is remembered.
void RuntimeState::forget_profiles_unused_for(std::chrono::seconds time) {
  std::vector<ProfilePtr> forgotten;  // freed outside the lock
  std::lock_guard lock(mutex_);
  for (auto it = profiles_.begin(); it != profiles_.end();) {
    const auto idle = std::chrono::duration_cast<std::chrono::seconds>(clock_.now() - it->second->last_used);
    if (!is_unused(it->second) || idle < time) {
      ++it;
      continue;
    }
    forgotten.push_back(std::move(it->second));
    it = profiles_.erase(it);
  }
}

Result<std::shared_ptr<backend::Recipe>> RuntimeState::prepare(Profile& profile) {
  std::lock_guard one_at_a_time(profile.prepare_mutex);
  if (profile.recipe && !profile.recipe->stale()) return profile.recipe;
  SANDBOX_TRY(image::ResolvedImage resolved, store_->resolve(profile.spec.image()));
  backend::ResolvedImage image;
  image.host_userland = resolved.host_userland;
  image.layers = std::move(resolved.layers);
  image.scratch_layer = std::move(resolved.scratch_layer);
  image.digest = std::move(resolved.digest);
  image.pinned = std::move(resolved.pinned);
  SANDBOX_TRY(profile.recipe, profile.backend.prepare(profile.spec, image));
  profile.image_pin = std::move(resolved.pin);
  const std::uint64_t restarts = profile.backend.restarts();
  if (const std::uint64_t before = restarts_seen_.exchange(restarts); restarts > before) {
    log(LogLevel::warning, "a launcher ended and was replaced");
    emit(RuntimeEvent::Kind::launcher_restarted, {}, std::to_string(restarts - before) + " replaced");
  }
  return profile.recipe;
}

Result<void> RuntimeState::remove_template(const std::string& id) {
  std::vector<ProfilePtr> unused;
  std::vector<BoxPtr> idle;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [key, profile] : profiles_) {
      if (profile->spec.image().kind() != Image::Kind::template_id || profile->spec.image().reference() != id) continue;
      // Beyond its idle members and the map nobody may hold it: boxes, creations, refills.
      if (profile->alive != profile->ready.size() ||
          profile.use_count() != static_cast<long>(1 + profile->ready.size()))
        return Error(ErrorCode::failed_precondition, id + " is in use by " + std::to_string(profile->alive) + " sandboxes")
            .with_operation("runtime.remove_template");
      unused.push_back(profile);
    }
    for (const ProfilePtr& profile : unused) {
      while (!profile->ready.empty()) {
        idle.push_back(std::move(profile->ready.back()));
        profile->ready.pop_back();
        profile->policy.member_discarded();
      }
      profile->policy.set_floor(0);
      profiles_.erase(profile->key);
    }
  }
  for (const BoxPtr& box : idle) box->close().ignore("its template goes away");
  idle.clear();
  unused.clear();  // and with them the pins
  SANDBOX_CHECK(store_->remove_template(id));
  emit(RuntimeEvent::Kind::template_removed, {}, id);
  prune_later();
  return {};
}

Result<std::vector<PrunedLayer>> RuntimeState::prune(const PruneOptions& options) {
  if (options.unused_for.count() < 0) return Error(ErrorCode::invalid_argument, "unused_for is negative").with_operation("runtime.prune");
  forget_profiles_unused_for(options.unused_for);
  image::CollectOptions collect;
  collect.unused_for = options.unused_for;
  collect.dry_run = options.dry_run;
  collect.measure = true;
  return store_->collect(collect);
}

void RuntimeState::prune_later() {
  if (options_.prune_after().count() <= 0 || !store_->has_layers()) return;
  chores_.post([this] {
    forget_profiles_unused_for(options_.prune_after());
    image::CollectOptions collect;
    collect.unused_for = options_.prune_after();
    collect.most = kPrunedAtATime;
    auto removed = store_->collect(collect);
    if (!removed) return log(LogLevel::warning, "unused layers stay: " + removed.error().to_string());
    for (const PrunedLayer& layer : *removed) log(LogLevel::info, "layer " + layer.digest.substr(0, 16) + " was not used any more: removed");
  });
}

}  // namespace sandbox
