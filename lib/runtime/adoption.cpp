// Taking over the sandboxes that an earlier runtime left.
#include <algorithm>
#include <atomic>
#include <thread>

#include "core/sync_point.hpp"
#include "runtime/runtime_state.hpp"
#include "runtime/spec_record.hpp"

namespace sandbox {

using runtime::LocalBox;
using runtime::Profile;

namespace {

/// For all of them together; an agent that does not answer in this time is lost.
constexpr auto kAdoptionDeadline = std::chrono::seconds(20);
/// Handshakes at a time: each mostly waits for an agent.
constexpr std::size_t kHandshakers = 4;

/// `work(i)` for every i below `count`, on a few threads.
template <class Work>
void for_each_index(std::size_t count, Work&& work) {
  std::atomic<std::size_t> next{0};
  const auto loop = [&] {
    for (std::size_t i = next++; i < count; i = next++) work(i);
  };
  std::vector<std::thread> helpers;
  for (std::size_t i = 1; i < std::min(kHandshakers, count); ++i) helpers.push_back(runtime::start_thread("sandbox-adopt", loop));
  loop();
  for (std::thread& helper : helpers) helper.join();
}

}  // namespace

/// A profile for an adopted box: the pool's own where its image still is what it was, otherwise one of its own.
RuntimeState::ProfilePtr RuntimeState::profile_of_adopted(const SandboxSpec& spec, backend::Backend& maker) {
  auto known = profile_of(spec);
  ProfilePtr profile;
  if (known) {
    profile = *std::move(known);
  } else {
    known.error().ignore("its image is gone or has changed; the sandbox has what it needs of it");
    profile = std::make_shared<Profile>("adopted", spec, "adopted", maker, pool::PolicyOptions(), clock_);
  }
  std::lock_guard one_at_a_time(profile->prepare_mutex);
  if (!profile->image_pin && spec.image().kind() != Image::Kind::host) {
    if (auto resolved = store_->resolve(spec.image())) profile->image_pin = std::move(resolved->pin);
    else resolved.error().ignore("nothing is left to hold");
  }
  return profile;
}

Result<void> RuntimeState::adopt_all(backend::Backend& maker) {
  const core::TimePoint deadline = core::SteadyClock::now() + kAdoptionDeadline;
  SANDBOX_TRY(auto found, maker.adopt(deadline));
  if (found.empty()) return {};
  SANDBOX_SYNC_POINT("runtime.adoption_found");
  struct Candidate {
    std::string id, note, lost;
    std::optional<SandboxSpec> spec;
    std::shared_ptr<backend::Instance> instance;
    std::shared_ptr<link::Link> link;
    bool paused = false;
  };
  std::vector<Candidate> candidates(found.size());
  // First every agent hears from us, then each is waited for: they answer side by side.
  for_each_index(found.size(), [&](std::size_t i) {
    Candidate& candidate = candidates[i];
    candidate.lost = std::move(found[i].lost);
    candidate.instance = std::move(found[i].instance);
    candidate.paused = found[i].paused;
    if (found[i].record.empty()) return;
    const auto read = [&]() -> Result<void> {
      SANDBOX_TRY(auto record, runtime::decode_record(found[i].record));
      candidate.id = std::move(record.id);
      candidate.note = std::move(record.note);
      SANDBOX_TRY(candidate.spec, runtime::decode_spec(record.spec));
      if (!candidate.instance) return {};
      SANDBOX_TRY(candidate.link, connect(*candidate.instance, *candidate.spec));
      candidate.link->with([](session::Session&) {});
      return {};
    };
    if (auto done = read(); !done) {
      if (candidate.lost.empty()) candidate.lost = done.error().to_string();
      done.error().ignore("reported as lost");
      candidate.instance.reset();
    }
  });
  for_each_index(candidates.size(), [&](std::size_t i) {
    Candidate& candidate = candidates[i];
    if (!candidate.instance || candidate.paused) return;  // a paused one is greeted when it goes on
    if (auto greeted = greet(*candidate.instance, *candidate.link, deadline); !greeted) {
      candidate.lost = greeted.error().to_string();
      greeted.error().ignore("reported as lost");
      candidate.instance.reset();
    }
  });

  SANDBOX_SYNC_POINT("runtime.adoption_greeted");
  for (Candidate& candidate : candidates) {
    if (!candidate.instance) {
      adopted_.lost.push_back({candidate.id, candidate.lost});
      log(LogLevel::warning, (candidate.id.empty() ? "a launcher of an earlier runtime" : candidate.id) + " is lost: " + candidate.lost);
      continue;
    }
    const ProfilePtr profile = profile_of_adopted(*candidate.spec, maker);
    std::unique_lock lock(mutex_);
    const std::uint64_t token = ++last_token_;
    auto box = std::make_shared<LocalBox>(shared_from_this(), profile, token, candidate.id, candidate.instance, std::move(candidate.link));
    if (candidate.paused) box->adopt_paused();
    boxes_.emplace(token, box);
    ++profile->alive;
    entrance_.force_place();
    hand_over(box);
    lock.unlock();
    if (auto watched = monitor_->add(candidate.instance->exit_fd(), token); !watched) return std::move(watched).error();
    emit(RuntimeEvent::Kind::adopted, box->id(), {});
    adopted_.boxes.push_back({std::move(box), std::move(candidate.note)});
    SANDBOX_SYNC_POINT("runtime.adopted");
  }
  return {};
}

RuntimeState::Adopted RuntimeState::take_adopted() {
  std::lock_guard lock(mutex_);
  return std::exchange(adopted_, {});
}

/// Before anybody hears of the box, so that there is no moment at which the caller knows one that its next process will not find.
Result<void> RuntimeState::commit(LocalBox& box, const Profile& profile, std::string_view note) {
  if (!options_.is_persistent()) return {};
  return box.commit(runtime::encode_record(box.id(), profile.encoded_spec, note));
}

}  // namespace sandbox
