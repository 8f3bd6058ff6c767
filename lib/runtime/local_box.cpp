#include "runtime/local_box.hpp"

#include <fcntl.h>

#include <algorithm>
#include <condition_variable>
#include <thread>

#include "core/sync_point.hpp"
#include "runtime/runtime_state.hpp"

namespace sandbox::runtime {
namespace {

/// How often a port inside is looked at while nobody listens on it yet.
constexpr auto kFirstPoll = std::chrono::milliseconds(2);
constexpr auto kLastPoll = std::chrono::milliseconds(50);
/// For the agent of a sandbox that was taken over frozen.
constexpr auto kGreetDeadline = std::chrono::seconds(10);

/// Sleeps, unless it is to stop.
void rest(core::Duration time, const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any never;
  std::unique_lock lock(mutex);
  never.wait_for(lock, stop, time, [] { return false; });
}

}  // namespace

LocalBox::LocalBox(std::shared_ptr<RuntimeState> runtime, std::shared_ptr<Profile> profile, std::uint64_t token,
                   std::string id, std::shared_ptr<backend::Instance> instance, std::shared_ptr<link::Link> link)
    : runtime_(std::move(runtime)),
      profile_(std::move(profile)),
      spec_(profile_->spec),
      token_(token),
      id_(std::move(id)),
      unenforced_(instance->unenforced()),
      link_(std::move(link)),
      instance_(std::move(instance)) {}

LocalBox::~LocalBox() { close().ignore("the last handle is gone: nobody is left to tell"); }

const SandboxSpec& LocalBox::spec() const noexcept { return spec_; }
aio::Reactor& LocalBox::reactor() noexcept { return runtime_->reactor(); }

std::shared_ptr<backend::Instance> LocalBox::instance() const {
  std::lock_guard lock(mutex_);
  return instance_;
}

/// That it has ended by itself is said also when its owner, who saw that, has closed it meanwhile.
Error LocalBox::gone() const {
  std::lock_guard lock(mutex_);
  if (phase() == Phase::lost || !lost_reason_.empty())
    return Error(ErrorCode::unavailable, id_ + " has ended" + (lost_reason_.empty() ? "" : ": " + lost_reason_));
  return Error(ErrorCode::failed_precondition, id_ + " is closed");
}

template <class T>
Result<T> LocalBox::answer(Result<T> outcome) const {
  if (outcome || phase() == Phase::live) return outcome;
  outcome.error().ignore("that the sandbox has ended says more");
  return gone();
}

Result<void> LocalBox::usable() const {
  if (phase() != Phase::live) return gone();
  if (paused_.load(std::memory_order_acquire)) return Error(ErrorCode::failed_precondition, id_ + " is paused");
  return {};
}

Result<SandboxStats> LocalBox::stats() {
  const auto alive = instance();
  if (!alive || phase() != Phase::live) return gone();
  return answer(alive->stats());
}

Result<void> LocalBox::pause() {
  std::lock_guard one_at_a_time(freeze_mutex_);
  const auto alive = instance();
  if (!alive || phase() != Phase::live) return gone();
  if (paused_.load()) return {};
  SANDBOX_CHECK(answer(alive->pause()));
  paused_.store(true);
  return {};
}

Result<void> LocalBox::resume() {
  std::lock_guard one_at_a_time(freeze_mutex_);
  const auto alive = instance();
  if (!alive || phase() != Phase::live) return gone();
  if (!paused_.load()) return {};
  SANDBOX_CHECK(answer(alive->resume()));
  if (ungreeted_) {
    if (auto greeted = runtime_->greet(*alive, *link_, core::SteadyClock::now() + kGreetDeadline); !greeted) {
      alive->pause().ignore("the failed greeting is the report");
      return std::move(greeted).error().with_context(id_ + " goes on, but its agent");
    }
    ungreeted_ = false;
  }
  paused_.store(false);
  return {};
}

Result<TemplateInfo> LocalBox::save_template(std::string label) {
  std::lock_guard one_at_a_time(freeze_mutex_);
  const auto alive = instance();
  if (!alive || phase() != Phase::live) return gone();
  const bool was_paused = paused_.load();
  if (!was_paused) SANDBOX_CHECK(answer(alive->pause_briefly()));
  SANDBOX_SYNC_POINT("template.paused");
  auto saved = [&]() -> Result<TemplateInfo> {
    SANDBOX_TRY(backend::Instance::Writable writable, answer(alive->writable()));
    image::ImageStore::TemplateDraft draft;
    draft.label = std::move(label);
    draft.image = spec().image();
    draft.limits = spec().limits();
    draft.writable_root = spec().is_root_writable();
    draft.directory = writable.directory.get();
    draft.first_id = writable.first_id;
    return runtime_->store().save_template(draft);
  }();
  SANDBOX_SYNC_POINT("template.before_resume");
  if (!was_paused) {
    if (auto resumed = answer(alive->resume()); !resumed) {
      if (saved) return std::move(resumed).error().with_context("the template " + saved->id + " was saved, but going on");
      resumed.ignore("the failed save is the better report");
    }
  }
  SANDBOX_SYNC_POINT("template.resumed");
  if (saved) runtime_->emit(RuntimeEvent::Kind::template_saved, id_, saved->id);
  return saved;
}

Result<core::UniqueFd> LocalBox::dial(std::uint16_t port, core::TimePoint deadline) {
  if (port == 0) return Error(ErrorCode::invalid_argument, "port 0");
  std::optional<Error> refused;
  for (core::Duration pause = kFirstPoll;; pause = std::min<core::Duration>(pause * 2, kLastPoll)) {
    const auto alive = instance();
    if (!alive || phase() != Phase::live) return gone();
    auto socket = answer(alive->connect(port, deadline));
    if (!socket && socket.error().code() == ErrorCode::deadline_exceeded && refused) {
      socket.ignore("there was no time to ask again; the last answer stands");
      return std::move(*refused);
    }
    if (socket || socket.error().code() != ErrorCode::unavailable) return socket;
    if (core::SteadyClock::now() + pause >= deadline) return socket;
    refused = std::move(socket).error();
    refused->ignore("nobody listens yet: asked again until the deadline");
    std::this_thread::sleep_for(pause);
  }
}

Result<int> LocalBox::connect(std::uint16_t port, std::chrono::milliseconds timeout) {
  SANDBOX_CHECK(usable());
  SANDBOX_TRY(core::UniqueFd socket, dial(port, core::SteadyClock::now() + timeout));
  // Non-blocking is how it was made and how the relay wants it; a caller expects an ordinary socket.
  const int flags = ::fcntl(socket.get(), F_GETFL);
  if (flags < 0 || ::fcntl(socket.get(), F_SETFL, flags & ~O_NONBLOCK) != 0) return Error::from_errno(errno, "net.connect");
  return socket.release();
}

Result<bool> LocalBox::listening(std::uint16_t port) {
  SANDBOX_CHECK(usable());
  const auto alive = instance();
  if (!alive) return gone();
  return answer(alive->listening(port));
}

Result<ExposedPort> LocalBox::expose(std::uint16_t port, std::uint16_t host_port, std::chrono::milliseconds timeout,
                                     const std::stop_token& stop) {
  SANDBOX_CHECK(usable());
  if (port == 0) return Error(ErrorCode::invalid_argument, "port 0");
  if (reactor().on_this_thread()) return Error(ErrorCode::failed_precondition, "expose() would block the runtime's own thread");
  const core::TimePoint deadline = core::SteadyClock::now() + timeout;
  {
    std::lock_guard lock(mutex_);
    if (!relays_.try_emplace(port).second)
      return Error(ErrorCode::already_exists, "port " + std::to_string(port) + " of " + id_ + " is exposed already");
  }
  const auto stopped = [&] { return Error(ErrorCode::cancelled, "exposing port " + std::to_string(port) + " of " + id_ + " was cancelled"); };
  auto opened = [&]() -> Result<std::shared_ptr<PortRelay>> {
    for (core::Duration pause = kFirstPoll;; pause = std::min<core::Duration>(pause * 2, kLastPoll)) {
      if (stop.stop_requested()) return stopped();
      const auto alive = instance();
      if (!alive || phase() != Phase::live) return gone();
      SANDBOX_TRY(const bool listening, answer(alive->listening(port)));
      if (listening) break;
      if (core::SteadyClock::now() + pause >= deadline)
        return Error(ErrorCode::deadline_exceeded, "nobody listens on port " + std::to_string(port) + " in " + id_);
      rest(pause, stop);
    }
    std::weak_ptr<LocalBox> weak = weak_from_this();
    PortRelayOptions options;
    options.host_port = host_port;
    SANDBOX_TRY(auto relay, PortRelay::open(reactor(), runtime_->chores(), options, [weak, port]() -> Result<core::UniqueFd> {
      const auto box = weak.lock();
      if (!box) return Error(ErrorCode::unavailable, "the sandbox is gone");
      return box->dial(port, core::SteadyClock::now() + std::chrono::seconds(2));
    }));
    return std::shared_ptr<PortRelay>(std::move(relay));
  }();
  if (opened && stop.stop_requested()) opened = stopped();  // the host port is free before the one inside is
  std::unique_lock lock(mutex_);
  // Closed meanwhile: instance_ is gone, and nobody would end the relay any more.
  if (!opened || !instance_) {
    relays_.erase(port);
    lock.unlock();
    if (!opened) return std::move(opened).error();
    return gone();
  }
  ExposedPort exposed;
  exposed.port = port;
  exposed.host_port = (*opened)->host_port();
  exposed.host_address = "127.0.0.1";
  relays_[port] = std::move(*opened);
  return exposed;
}

Result<std::vector<ExposedPort>> LocalBox::exposed() {
  SANDBOX_CHECK(usable());
  std::vector<ExposedPort> ports;
  std::lock_guard lock(mutex_);
  for (const auto& [port, relay] : relays_)
    if (relay) ports.push_back({port, relay->host_port(), "127.0.0.1"});
  return ports;
}

Result<void> LocalBox::unexpose(std::uint16_t port) {
  std::shared_ptr<PortRelay> relay;
  {
    std::lock_guard lock(mutex_);
    const auto found = relays_.find(port);
    if (found == relays_.end() || !found->second)
      return Error(ErrorCode::not_found, "port " + std::to_string(port) + " of " + id_ + " is not exposed");
    relay = std::move(found->second);
    relays_.erase(found);
  }
  return {};  // the relay ends here, without the lock
}

Result<void> LocalBox::commit(std::string_view record) {
  const auto alive = instance();
  return alive ? alive->commit(record) : Result<void>(gone());
}

Result<void> LocalBox::free_everything(const Error& why, bool destroy) {
  std::shared_ptr<backend::Instance> alive;
  std::map<std::uint16_t, std::shared_ptr<PortRelay>> relays;
  {
    std::lock_guard lock(mutex_);
    alive.swap(instance_);
    for (auto& [port, relay] : relays_)
      if (relay) relays.emplace(port, std::move(relay));
    relays_.clear();
  }
  if (!alive) return {};
  runtime_->unwatch(*alive);
  relays.clear();
  link_->close(why);
  if (destroy) return alive->destroy();
  alive->leave();
  return {};
}

Result<void> LocalBox::leave_behind() {
  std::lock_guard one_at_a_time(close_mutex_);
  if (std::exchange(freed_, true)) return {};
  left_.store(true, std::memory_order_release);
  set_phase(Phase::closed);
  const Error why(ErrorCode::cancelled, "this runtime left " + id_);
  why.ignore("given to whatever still runs inside");
  auto left = free_everything(why, false);
  runtime_->released(*this);
  return left;
}

Result<void> LocalBox::close() {
  std::lock_guard one_at_a_time(close_mutex_);
  if (freed_) {
    set_phase(Phase::closed);
    return {};
  }
  freed_ = true;
  set_phase(Phase::closed);
  const Error why(ErrorCode::cancelled, id_ + " was closed");
  why.ignore("given to whatever still runs inside");
  SANDBOX_SYNC_POINT("runtime.before_close");
  auto destroyed = free_everything(why);
  SANDBOX_SYNC_POINT("runtime.closed");
  runtime_->released(*this);
  return destroyed;
}

std::string LocalBox::bury() {
  std::lock_guard one_at_a_time(close_mutex_);
  if (freed_) return {};
  freed_ = true;
  std::string reason = "its first process ended";
  if (const auto alive = instance()) {
    if (const std::uint64_t kills = alive->oom_kills(); kills > 0)
      reason = "out of memory (" + std::to_string(kills) + " killed)";
  }
  {
    std::lock_guard lock(mutex_);
    lost_reason_ = reason;
  }
  const Error why(ErrorCode::unavailable, id_ + " has ended: " + reason);
  why.ignore("given to whatever still runs inside");
  free_everything(why).ignore("it ended by itself; the backend sweeps what it could not remove");
  runtime_->released(*this);
  return reason;
}

}  // namespace sandbox::runtime
