#include <algorithm>
#include <map>
#include <utility>

#include "runtime/profile.hpp"
#include "server/core.hpp"

/// Profiles, their pools, and health.
namespace sandbox::server {
namespace {

constexpr auto kPoolWait = std::chrono::seconds(60);
constexpr auto kPoolLook = std::chrono::milliseconds(10);

}  // namespace

void Core::list_profiles(http::Exchange& exchange) {
  std::vector<ProfileInfo> all;
  for (const ProfileSettings& profile : settings_.profiles) all.push_back(profile.info);
  answer(exchange, 200, rest::write(all));
}

std::vector<PoolInfo> Core::pools() const {
  std::map<std::string, PoolStats> by_name;
  for (PoolStats& stats : runtime_->pools()) {
    std::string name = stats.profile;
    by_name.insert_or_assign(std::move(name), std::move(stats));
  }
  std::vector<PoolInfo> all;
  for (const ProfileSettings& profile : settings_.profiles) {
    PoolInfo pool;
    if (const auto found = by_name.find(runtime::profile_name(profile.spec)); found != by_name.end())
      static_cast<PoolStats&>(pool) = found->second;
    pool.profile = profile.info.name;
    pool.image = profile.info.image;
    pool.memory = profile.info.memory;
    pool.cpus = profile.info.cpus;
    all.push_back(std::move(pool));
  }
  return all;
}

void Core::list_pools(http::Exchange& exchange) { answer(exchange, 200, rest::write(pools())); }

/// Looks now and then until the pool holds between `least` and `most`.
void Core::wait_ready(std::string name, std::uint32_t least, std::uint32_t most, core::TimePoint deadline, std::function<void(bool)> done) {
  const auto all = pools();
  const auto pool = std::find_if(all.begin(), all.end(), [&](const PoolInfo& one) { return one.profile == name; });
  if (pool == all.end() || stopping_) return done(false);
  if (pool->ready >= least && pool->ready <= most) return done(true);
  if (core::SteadyClock::now() >= deadline) return done(false);
  auto timer = std::make_shared<boost::asio::steady_timer>(context(), kPoolLook);
  timer->async_wait([weak = weak_from_this(), timer, name = std::move(name), least, most, deadline, done](boost::system::error_code) {
    if (const auto self = weak.lock()) self->wait_ready(name, least, most, deadline, done);
    else done(false);
  });
}

void Core::resize_pool(const ExchangePtr& exchange, const std::string& name) {
  exchange->read_body(rest::kMaxBody, [weak = weak_from_this(), exchange, name](Result<std::string> body) {
    const auto self = weak.lock();
    if (!self) return body.ignore("the service has ended");
    auto count = body ? rest::read_count(*body) : Result<std::int64_t>(std::move(body).error());
    if (!count) {
      count.ignore("answered");
      return refuse(*exchange, 400, ErrorCode::invalid_argument, "invalid request body");
    }
    if (*count < 0) return refuse(*exchange, 400, ErrorCode::invalid_argument, "count must be non-negative");
    if (*count > self->settings_.max_warm)
      return refuse(*exchange, 400, ErrorCode::resource_exhausted, "count exceeds pool.max_warm (" + std::to_string(self->settings_.max_warm) + ")");
    const ProfileSettings* profile = self->settings_.find(name);
    if (profile == nullptr) return refuse(*exchange, 404, ErrorCode::not_found, "profile not found");
    const auto wanted = static_cast<std::uint32_t>(*count);
    self->resized_[name] = wanted;
    self->set_pool(exchange, *profile, wanted, "pool resize failed");
  });
}

/// Sets the size, waits until the pool has it, answers.
void Core::set_pool(const ExchangePtr& exchange, const ProfileSettings& profile, std::uint32_t wanted, std::string failure) {
  const auto fail = [exchange, failure] { refuse(*exchange, 500, ErrorCode::unavailable, failure); };
  const bool posted = offload([runtime = runtime_, spec = profile.spec, wanted] { return runtime->set_warm(spec, wanted); },
                              [this, exchange, name = profile.info.name, wanted, fail](Result<void> set) {
                                if (!set) {
                                  leaves_.log->warning("pool not set", {{"profile", name}, {"error", set.error().to_string()}});
                                  return fail();
                                }
                                // Demand may have raised the pool above a wish; none at all is meant literally.
                                const std::uint32_t most = wanted == 0 ? 0 : ~std::uint32_t{0};
                                wait_ready(name, wanted, most, core::SteadyClock::now() + kPoolWait, [exchange, fail](bool done) {
                                  if (!done) return fail();
                                  exchange->respond(http::json_response(200, "{\"status\":\"ok\"}\n"));
                                });
                              });
  if (!posted) fail();
}

void Core::flush_pool(const ExchangePtr& exchange, const std::string& name) {
  const ProfileSettings* profile = settings_.find(name);
  if (profile == nullptr) return refuse(*exchange, 404, ErrorCode::not_found, "profile not found");
  const auto fail = [exchange] { refuse(*exchange, 500, ErrorCode::unavailable, "pool flush failed"); };
  const bool posted = offload([runtime = runtime_, spec = profile->spec] { return runtime->set_warm(spec, 0); }, [this, exchange, name, fail](Result<void> set) {
    if (!set) {
      set.ignore("answered");
      return fail();
    }
    wait_ready(name, 0, 0, core::SteadyClock::now() + kPoolWait, [weak = weak_from_this(), exchange, name, fail](bool empty) {
      const auto self = weak.lock();
      const ProfileSettings* again = self ? self->settings_.find(name) : nullptr;
      if (!empty || again == nullptr) return fail();
      self->resized_.erase(name);
      self->set_pool(exchange, *again, again->warm, "pool flush failed");
    });
  });
  if (!posted) fail();
}

void Core::health(http::Exchange& exchange) {
  Health health;
  health.status = "ok";
  health.sandboxes = records_.size();
  health.pools = pools();
  health.node_id = settings_.node_id;
  health.version = SANDBOX_VERSION_STRING;
  health.protocols = {"v1", "v2"};
  answer(exchange, 200, rest::write(health));
}

}  // namespace sandbox::server
