#include "api/watching.hpp"

#include "api/arguments.hpp"

namespace sandbox {

Watch::Watch(std::shared_ptr<State> state) noexcept : state_(std::move(state)) {}
Watch::Watch(Watch&&) noexcept = default;
Watch& Watch::operator=(Watch&& other) noexcept {
  if (this != &other) {
    if (state_) state_->abandon();
    state_ = std::move(other.state_);
  }
  return *this;
}
Watch::~Watch() {
  if (state_) state_->abandon();
}

void Watch::close() noexcept { state_->abandon(); }

Result<FileEvent> Watch::next(std::chrono::milliseconds timeout) {
  const auto deadline = timeout.count() > 0 ? core::SteadyClock::now() + timeout : core::TimePoint::max();
  SANDBOX_TRY(auto event, state_->await<Result<FileEvent>>([&] { return state_->poll_event(); }, deadline));
  if (!event) return Error(ErrorCode::deadline_exceeded, "nothing changed in time");
  return *std::move(event);
}

Result<std::shared_ptr<Watch::State>> Watch::State::start(const std::shared_ptr<driver::Box>& box, std::string path, bool recursive) {
  SANDBOX_CHECK(api::check_path(path));
  SANDBOX_CHECK(box->usable());
  protocol::FsWatchRequest request;
  request.path = std::move(path);
  request.recursive = recursive;
  auto state = std::make_shared<State>(box);
  state->open(protocol::Method::fs_watch, protocol::encode(request));
  return state;
}

Result<Watch> Watch::State::open_watch(const std::shared_ptr<driver::Box>& box, std::string path, bool recursive) {
  SANDBOX_CHECK(api::may_block(*box));
  SANDBOX_TRY(auto state, start(box, std::move(path), recursive));
  Watch watch(state);  // from here on leaving ends it
  SANDBOX_TRY(auto ready, state->await<Result<void>>([&] { return state->poll_ready(); }, core::TimePoint::max()));
  SANDBOX_CHECK(*std::move(ready));
  return watch;
}

void Watch::State::on_message(ByteView message) {
  auto batch = protocol::decode<protocol::FsEvents>(message);
  if (!batch) return batch.error().ignore("a message this version does not know");
  for (auto& event : batch->events) {
    if (event.kind == protocol::FsEventKind::ready) {
      ready = true;
      continue;
    }
    if (event.kind < protocol::FsEventKind::created || event.kind > protocol::FsEventKind::overflow) continue;
    FileEvent& told = events.size() < kMaxEvents ? events.emplace_back() : events.back();
    if (events.size() >= kMaxEvents) {
      told = FileEvent();
      told.kind = FileEvent::Kind::overflow;
      continue;
    }
    told.kind = static_cast<FileEvent::Kind>(event.kind);
    told.path = std::move(event.path);
    told.old_path = std::move(event.old_path);
    told.type = event.type <= protocol::FileType::block ? static_cast<FileType>(event.type) : FileType::unknown;
  }
  changed();
}

std::optional<Result<void>> Watch::State::poll_ready() {
  if (ready) return Result<void>();
  if (!over()) return std::nullopt;
  if (error()) return Result<void>(*error());
  return Result<void>(Error(ErrorCode::protocol, "the watch ended before it began"));
}

std::optional<Result<FileEvent>> Watch::State::poll_event() {
  if (!events.empty()) {
    FileEvent event = std::move(events.front());
    events.pop_front();
    return Result<FileEvent>(std::move(event));
  }
  if (!over()) return std::nullopt;
  if (error()) return Result<FileEvent>(*error());
  return Result<FileEvent>(Error(ErrorCode::unavailable, "the watch ended"));
}

}  // namespace sandbox
