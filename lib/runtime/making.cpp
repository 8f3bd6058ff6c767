// One sandbox, from its recipe to the handshake with its agent.
#include <sys/random.h>

#include <cstdio>

#include "core/sync_point.hpp"
#include "launch/plan.hpp"
#include "protocol/build_id.hpp"
#include "runtime/runtime_state.hpp"

namespace sandbox {

using runtime::LocalBox;

std::string RuntimeState::new_id() {
  std::uint32_t random = 0;
  while (::getrandom(&random, sizeof random, 0) != sizeof random) {
  }
  char text[16];
  std::snprintf(text, sizeof text, "sbx-%08x", random);
  return text;
}

/// A session with its agent, which has not answered yet.
Result<std::shared_ptr<link::Link>> RuntimeState::connect(backend::Instance& instance, const SandboxSpec& spec) {
  session::Options session_options;
  session_options.software = "sandbox/" SANDBOX_VERSION_STRING;
  std::optional<crypto::SecureChannel> channel;
  if (spec.is_sealed()) {
    SANDBOX_TRY(auto made, crypto::SecureChannel::client({}));
    channel.emplace(std::move(made));
  }
  return link::Link::make(link::socket_stream(instance.take_stream()), std::move(session_options), *reactor_, std::move(channel));
}

Result<void> RuntimeState::greet(backend::Instance& instance, link::Link& link, core::TimePoint deadline) {
  auto hello = link.handshake(deadline);
  if (!hello) return instance.explain(std::move(hello).error().with_context("the agent did not say hello"));
  // Only the agent's own build promises anything; what a test puts in its place says so with another name.
  constexpr std::string_view kAgent = "sandbox-agent/";
  if (hello->software.starts_with(kAgent) && std::string_view(hello->software).substr(kAgent.size()) != protocol::build_id())
    return launch::build_mismatch("sandbox-agent", std::string_view(hello->software).substr(kAgent.size()));
  if (!hello->facts) return Error(ErrorCode::protocol, "the agent did not report its confinement");
  return instance.verify(*hello->facts);
}

Result<RuntimeState::BoxPtr> RuntimeState::make_once(const ProfilePtr& profile, core::TimePoint deadline) {
  SANDBOX_TRY(const std::shared_ptr<backend::Recipe> recipe, prepare(*profile));
  SANDBOX_TRY(std::unique_ptr<backend::Instance> made, recipe->create(deadline));
  std::shared_ptr<backend::Instance> instance(std::move(made));
  const auto discard = [&](Error error) -> Error {
    instance->destroy().ignore("it was never used; why it could not be is the report");
    return error;
  };
  auto connected = connect(*instance, profile->spec);
  if (!connected) return discard(std::move(connected).error());
  const std::shared_ptr<link::Link> link = *std::move(connected);
  SANDBOX_SYNC_POINT("runtime.before_greet");
  if (auto greeted = greet(*instance, *link, deadline); !greeted) return discard(std::move(greeted).error());

  SANDBOX_SYNC_POINT("runtime.greeted");
  std::unique_lock lock(mutex_);
  if (closing_) {
    lock.unlock();
    return discard(runtime::closing_error());
  }
  const std::uint64_t token = ++last_token_;
  auto box = std::make_shared<LocalBox>(shared_from_this(), profile, token, new_id(), instance, link);
  boxes_.emplace(token, box);
  ++profile->alive;
  lock.unlock();
  if (auto watched = monitor_->add(instance->exit_fd(), token); !watched) {
    {
      std::lock_guard undo(mutex_);  // the caller gives the place back, so released() must not
      boxes_.erase(token);
      --profile->alive;
    }
    box->close().ignore("it was never used; why it could not be is the report");
    return std::move(watched).error();
  }
  return box;
}

Result<RuntimeState::BoxPtr> RuntimeState::make(const ProfilePtr& profile, core::TimePoint deadline) {
  for (int attempt = 0;; ++attempt) {
    auto box = make_once(profile, deadline);
    // A launcher that died is replaced: what was under way on it deserves another try. Up to three may have died at once.
    if (box || box.error().code() != ErrorCode::unavailable || attempt >= 3 || closing_ || core::SteadyClock::now() >= deadline)
      return box;
    box.ignore("tried again");
  }
}

}  // namespace sandbox
