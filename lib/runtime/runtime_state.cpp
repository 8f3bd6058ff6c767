#include "runtime/runtime_state.hpp"

#include <algorithm>

#include <boost/asio/post.hpp>

#include "runtime/proof.hpp"
#include "runtime/state_directory.hpp"

namespace sandbox {

using runtime::Profile;

namespace {

/// Creations by callers at a time: more only queue up in the launchers, where nobody can leave the queue.
unsigned max_makers() { return std::max(4u, 2 * std::thread::hardware_concurrency()); }
constexpr auto kProbeDeadline = std::chrono::seconds(10);

}  // namespace

RuntimeState::RuntimeState(RuntimeOptions options)
    : options_(std::move(options)), entrance_(options_.max_sandboxes(), max_makers()) {}

RuntimeState::~RuntimeState() { close().ignore("destroyed without close(): nobody is left to tell"); }

Result<std::shared_ptr<RuntimeState>> RuntimeState::open_with(RuntimeOptions options,
                                                              std::vector<std::unique_ptr<backend::Backend>> backends) {
  if (options.max_sandboxes() == 0) return Error(ErrorCode::invalid_argument, "max_sandboxes of 0");
  if (backends.empty()) return Error(ErrorCode::invalid_argument, "a runtime needs a backend");
  std::shared_ptr<RuntimeState> state(new RuntimeState(std::move(options)));
  if (auto started = state->start(std::move(backends)); !started) {
    // What an earlier runtime left stays for one that opens: a launcher that was taken over must not be told to forget it.
    state->shut_down(state->options_.is_persistent()).ignore("it did not open: that failure is the report");
    return std::move(started).error();
  }
  return state;
}

Result<void> RuntimeState::start(std::vector<std::unique_ptr<backend::Backend>> backends) {
  backends_ = std::move(backends);
  image::StoreOptions store;
  store.directory = runtime::state_directory(options_);
  store.on_progress = [this](const std::string& line) { log(LogLevel::info, line); };
  SANDBOX_TRY(store_, image::ImageStore::open(std::move(store)));
  SANDBOX_TRY(host_, backends_.front()->probe(core::SteadyClock::now() + kProbeDeadline));
  reactor_ = std::make_unique<aio::Reactor>();
  SANDBOX_TRY(monitor_, runtime::ExitMonitor::make(*reactor_, [this](std::uint64_t token) { on_exit(token); }));

  if (!options_.required_proof().empty()) {
    SANDBOX_TRY(const auto lines, policy());
    SANDBOX_CHECK(runtime::check_proof(options_.required_proof(), lines));
  }
  if (options_.is_persistent())
    for (const auto& maker : backends_) SANDBOX_CHECK(adopt_all(*maker));
  for (const auto& [count, spec] : options_.warm()) {
    SANDBOX_TRY(const ProfilePtr profile, profile_of(spec));
    std::lock_guard lock(mutex_);
    profile->policy.set_floor(std::max(profile->policy.floor(), count));
  }
  SANDBOX_CHECK(refillers_.start(kMaxRefills, [this](std::unique_lock<std::mutex>& lock) { return look_after_pools(lock); }));
  prune_later();  // by now the adopted ones have what they stand on
  return {};
}

Result<std::vector<std::string>> RuntimeState::policy() {
  SANDBOX_TRY(auto lines, backends_.front()->policy(core::SteadyClock::now() + kProbeDeadline));
  return runtime::complete_policy(std::move(lines));
}

backend::Backend* RuntimeState::find_backend(const std::string& name) const {
  for (const auto& candidate : backends_)
    if (candidate->name() == name) return candidate.get();
  return nullptr;
}

std::size_t RuntimeState::live() const {
  std::lock_guard lock(mutex_);
  return live_;
}

void RuntimeState::emit(RuntimeEvent::Kind kind, std::string sandbox_id, std::string detail) {
  if (!options_.on_event()) return;
  RuntimeEvent event{kind, std::move(sandbox_id), std::move(detail), std::chrono::system_clock::now()};
  boost::asio::post(reactor_->context(), [this, event = std::move(event)] {
    try {
      options_.on_event()(event);
    } catch (...) {
      log(LogLevel::error, "the event callback threw");
    }
  });
}

void RuntimeState::log(LogLevel level, std::string_view text) const {
  if (options_.on_log()) options_.on_log()(level, text);
}

}  // namespace sandbox
