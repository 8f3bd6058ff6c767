#include <sandbox/asio/client.hpp>
#include <sandbox/client.hpp>

#include <algorithm>
#include <cstdlib>
#include <thread>

#include "client/client_state.hpp"
#include "client/event_source.hpp"
#include "http/message.hpp"
#include "rest/rest.hpp"

namespace sandbox {
namespace {

Error moved_from() { return Error(ErrorCode::failed_precondition, "this Client was moved from"); }

/// "/<kind>/<name>" with the name escaped.
std::string path_of(std::string_view kind, std::string_view name) { return "/" + std::string(kind) + "/" + http::percent_encode(name); }

}  // namespace

EventStream::EventStream(std::unique_ptr<client::EventSource> source) noexcept : source_(std::move(source)) {}
EventStream::EventStream(EventStream&&) noexcept = default;
EventStream& EventStream::operator=(EventStream&&) noexcept = default;
EventStream::~EventStream() = default;

Result<std::optional<ServiceEvent>> EventStream::next(std::chrono::milliseconds timeout) {
  const bool bounded = timeout != std::chrono::milliseconds::max();
  return source_->next(bounded ? core::SteadyClock::now() + timeout : core::TimePoint::max());
}
bool EventStream::gap() const noexcept { return source_->gap(); }
void EventStream::cancel() noexcept { source_->cancel(); }

std::string Client::default_endpoint() {
  const char* named = std::getenv("SANDBOX_HOST");
  return named && *named ? named : "unix:///var/run/sandboxd/sandboxd.sock";
}

Client::Client(std::shared_ptr<client::ClientState> state) noexcept : state_(std::move(state)) {}
Client::Client(Client&&) noexcept = default;
Client& Client::operator=(Client&&) noexcept = default;
Client::~Client() = default;

Result<Client> Client::connect(const std::string& endpoint, ClientOptions options) {
  SANDBOX_TRY(std::shared_ptr<client::ClientState> state, client::ClientState::open(endpoint, std::move(options)));
  return Client(std::move(state));
}

Result<Sandbox> Client::create() { return create(CreateRequest()); }
Result<Sandbox> Client::create(const SandboxSpec& spec, CreateOptions options) {
  return create(CreateRequest().spec(spec), std::move(options));
}
Result<Sandbox> Client::create(const CreateRequest& request, CreateOptions options) {
  if (!state_) return moved_from();
  SANDBOX_TRY(std::shared_ptr<driver::Box> box, state_->create(request, options));
  return Sandbox(std::move(box));
}

Result<Sandbox> Client::open(const std::string& id, OpenOptions options) {
  if (!state_) return moved_from();
  SANDBOX_TRY(std::shared_ptr<driver::Box> box, state_->attach(id, options));
  return Sandbox(std::move(box));
}

Result<std::vector<SandboxInfo>> Client::list(const Labels& labels) {
  if (!state_) return moved_from();
  SANDBOX_CHECK(state_->usable());
  std::string target = "/sandboxes";
  for (const auto& [key, value] : labels)
    target += (target.find('?') == target.npos ? "?label=" : "&label=") + http::percent_encode(key + ":" + value);
  SANDBOX_TRY(const std::string body, state_->get(target));
  return rest::read_sandboxes(body);
}

Result<SandboxInfo> Client::find(const std::string& id) {
  if (!state_) return moved_from();
  SANDBOX_CHECK(state_->usable());
  SANDBOX_TRY(const std::string path, client::ClientState::sandbox_path(id));
  SANDBOX_TRY(const std::string body, state_->get(path));
  return rest::read_sandbox(body);
}

Result<void> Client::remove(const std::string& id) {
  if (!state_) return moved_from();
  SANDBOX_CHECK(state_->usable());
  SANDBOX_TRY(const std::string path, client::ClientState::sandbox_path(id));
  SANDBOX_TRY(const std::string none, state_->call("DELETE", path, {}, state_->usual_deadline()));
  return {};
}

Result<std::vector<ServiceTemplate>> Client::templates() {
  if (!state_) return moved_from();
  SANDBOX_CHECK(state_->usable());
  SANDBOX_TRY(const std::string body, state_->get("/templates"));
  return rest::read_templates(body);
}

Result<ServiceTemplate> Client::find_template(const std::string& id) {
  if (!state_) return moved_from();
  SANDBOX_CHECK(state_->usable());
  SANDBOX_TRY(const std::string body, state_->get(path_of("templates", id)));
  return rest::read_template(body);
}

Result<void> Client::remove_template(const std::string& id) {
  if (!state_) return moved_from();
  SANDBOX_CHECK(state_->usable());
  SANDBOX_TRY(const std::string none, state_->call("DELETE", path_of("templates", id), {}, state_->usual_deadline()));
  return {};
}

Result<std::vector<ProfileInfo>> Client::profiles() {
  if (!state_) return moved_from();
  SANDBOX_CHECK(state_->usable());
  SANDBOX_TRY(const std::string body, state_->get("/profiles"));
  return rest::read_profiles(body);
}

Result<std::vector<PoolInfo>> Client::pools() {
  if (!state_) return moved_from();
  SANDBOX_CHECK(state_->usable());
  SANDBOX_TRY(const std::string body, state_->get("/pools"));
  return rest::read_pools(body);
}

Result<void> Client::set_warm(const std::string& profile, std::uint32_t count) {
  if (!state_) return moved_from();
  SANDBOX_CHECK(state_->usable());
  std::string body = rest::JsonWriter().begin_object().member("count", count).end_object().text();
  SANDBOX_TRY(const std::string none, state_->call("PUT", path_of("pools", profile), std::move(body), state_->usual_deadline()));
  return {};
}

Result<void> Client::flush(const std::string& profile) {
  if (!state_) return moved_from();
  SANDBOX_CHECK(state_->usable());
  SANDBOX_TRY(const std::string none, state_->call("POST", path_of("pools", profile) + "/flush", {}, state_->usual_deadline()));
  return {};
}

Result<void> Client::wait_warm(std::chrono::milliseconds timeout) {
  // The daemon tells nobody when a pool is full; asking is cheap.
  const auto deadline = core::SteadyClock::now() + timeout;
  for (auto pause = std::chrono::milliseconds(2);; pause = std::min(pause * 2, std::chrono::milliseconds(100))) {
    SANDBOX_TRY(const Health now, health());
    if (std::all_of(now.pools.begin(), now.pools.end(), [](const PoolInfo& pool) { return pool.ready >= pool.target; })) return {};
    if (core::SteadyClock::now() + pause >= deadline) return Error(ErrorCode::deadline_exceeded, "the pools are not full yet");
    std::this_thread::sleep_for(pause);
  }
}

Result<EventStream> Client::events(std::optional<std::uint64_t> after) {
  if (!state_) return moved_from();
  SANDBOX_TRY(auto source, client::EventSource::open(state_, after));
  return EventStream(std::move(source));
}

Result<EventHistory> Client::history(std::uint64_t after, std::uint32_t limit) {
  if (!state_) return moved_from();
  SANDBOX_CHECK(state_->usable());
  SANDBOX_TRY(const std::string body, state_->get("/events/history?after=" + std::to_string(after) + "&limit=" + std::to_string(limit)));
  return rest::read_history(body);
}

Result<Health> Client::health() {
  if (!state_) return moved_from();
  SANDBOX_CHECK(state_->usable());
  SANDBOX_TRY(const std::string body, state_->get("/health"));
  return rest::read_health(body);
}

Result<std::string> Client::metrics() {
  if (!state_) return moved_from();
  SANDBOX_CHECK(state_->usable());
  return state_->get("/metrics");
}

Result<void> Client::close() {
  if (state_) state_->close();
  return {};
}

}  // namespace sandbox

namespace sandbox::detail {

boost::asio::any_io_executor executor_of(client::ClientState& state) { return state.reactor().context().get_executor(); }

Canceller start_remote_create(const std::shared_ptr<client::ClientState>& state, CreateRequest request, CreateOptions options,
                              Completion<Sandbox> completion) {
  auto kept = std::make_shared<Completion<Sandbox>>(std::move(completion));
  return state->async_create(std::move(request), options, [kept](Result<std::shared_ptr<driver::Box>> box) {
    if (box) (*kept)(Sandbox(std::move(*box)));
    else (*kept)(std::move(box).error());
  });
}

}  // namespace sandbox::detail
