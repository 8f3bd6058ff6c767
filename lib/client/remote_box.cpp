#include "client/remote_box.hpp"

#include "client/port_pipe.hpp"
#include "rest/rest.hpp"

namespace sandbox::client {
namespace {

/// What an answer may take beyond the time the daemon itself was given.
constexpr auto kGrace = std::chrono::seconds(5);
/// Copying a large sandbox takes its time.
constexpr auto kTemplateTime = std::chrono::minutes(10);

}  // namespace

RemoteBox::RemoteBox(std::shared_ptr<ClientState> client, std::string id, SandboxSpec spec, std::vector<std::string> unenforced,
                     std::shared_ptr<link::Link> link, Hold hold, bool paused)
    : client_(std::move(client)),
      id_(std::move(id)),
      spec_(std::move(spec)),
      unenforced_(std::move(unenforced)),
      link_(std::move(link)),
      hold_(hold),
      paused_(paused) {}

RemoteBox::~RemoteBox() { handle_gone(); }

Error RemoteBox::gone() const {
  if (closed()) return Error(ErrorCode::failed_precondition, id_ + " is closed");
  return Error(ErrorCode::unavailable, id_ + " has ended");
}

Result<void> RemoteBox::open_for_requests() const {
  if (closed()) return gone();
  return {};
}

Result<void> RemoteBox::usable() const {
  if (closed()) return gone();
  if (auto why = link_->error()) return *std::move(why);
  if (paused_.load(std::memory_order_acquire)) return Error(ErrorCode::failed_precondition, id_ + " is paused");
  return {};
}

Result<std::string> RemoteBox::call(std::string method, std::string_view rest, std::string body, core::TimePoint deadline,
                                    const std::stop_token& stop) {
  SANDBOX_TRY(const std::string target, ClientState::sandbox_path(id_, rest));
  auto answer = client_->call(std::move(method), target, std::move(body), deadline, stop);
  if (answer) return answer;
  if (closed()) {
    answer.ignore("it was closed meanwhile");
    return gone();
  }
  if (answer.error().code() == ErrorCode::not_found && answer.error().message() == "sandbox not found") {
    answer.ignore("said in other words");
    return gone();
  }
  return answer;
}

Result<SandboxStats> RemoteBox::stats() {
  SANDBOX_CHECK(open_for_requests());
  SANDBOX_TRY(const std::string body, call("GET", "/stats"));
  return rest::read_stats(body);
}

Result<void> RemoteBox::pause() {
  SANDBOX_CHECK(open_for_requests());
  SANDBOX_TRY(const std::string none, call("POST", "/pause"));
  paused_.store(true, std::memory_order_release);
  return {};
}

Result<void> RemoteBox::resume() {
  SANDBOX_CHECK(open_for_requests());
  SANDBOX_TRY(const std::string none, call("POST", "/resume"));
  paused_.store(false, std::memory_order_release);
  link_->hurry();
  return {};
}

Result<TemplateInfo> RemoteBox::save_template(std::string label) {
  SANDBOX_CHECK(open_for_requests());
  rest::TemplateBody body;
  body.sandbox_id = id_;
  if (!label.empty()) body.label = std::move(label);
  auto answer = client_->call("POST", "/templates", rest::write(body), core::SteadyClock::now() + kTemplateTime);
  if (!answer) {
    if (answer.error().code() != ErrorCode::not_found) return std::move(answer).error();
    answer.ignore("said in other words");
    return gone();
  }
  SANDBOX_TRY(ServiceTemplate saved, rest::read_template(*answer));
  return static_cast<TemplateInfo&&>(std::move(saved));
}

Result<int> RemoteBox::connect(std::uint16_t port, std::chrono::milliseconds timeout) {
  if (port == 0) return Error(ErrorCode::invalid_argument, "port 0");
  SANDBOX_CHECK(usable());
  if (reactor().on_this_thread()) return Error(ErrorCode::failed_precondition, "connect() would block the client's own thread");
  http::WebSocketRequest request;
  SANDBOX_TRY(request.target, ClientState::sandbox_path(
                                  id_, "/ports/" + std::to_string(port) + "/connect?wait_ms=" + std::to_string(std::max<std::int64_t>(timeout.count(), 0))));
  SANDBOX_TRY(request.headers, client_->credentials("GET", request.target));
  auto socket = client_->http().connect_websocket(request, core::SteadyClock::now() + timeout + kGrace);
  if (!socket) {
    if (socket.error().code() != ErrorCode::not_found) return std::move(socket).error();
    socket.ignore("said in other words");
    return gone();
  }
  return PortPipe::open(reactor(), *std::move(socket));
}

Result<ExposedPort> RemoteBox::expose(std::uint16_t port, std::uint16_t host_port, std::chrono::milliseconds timeout,
                                      const std::stop_token& stop) {
  if (port == 0) return Error(ErrorCode::invalid_argument, "port 0");
  SANDBOX_CHECK(usable());
  rest::ExposeBody body;
  body.timeout = std::max(0.001, std::chrono::duration<double>(timeout).count());
  body.host_port = host_port;
  auto answer = call("POST", "/ports/" + std::to_string(port) + "/expose", rest::write(body), core::SteadyClock::now() + timeout + kGrace, stop);
  if (stop.stop_requested()) {
    // Whoever stops waiting is told so when the port is free again; if somebody listened just then, that is for us to see to.
    if (answer) unexpose(port).ignore("the sandbox is gone, or the daemon");
    else answer.ignore("not wanted any more");
    return Error(ErrorCode::cancelled, "exposing port " + std::to_string(port) + " of " + id_ + " was cancelled");
  }
  if (!answer) return std::move(answer).error();
  return rest::read_port(*answer);
}

Result<std::vector<ExposedPort>> RemoteBox::exposed() {
  SANDBOX_CHECK(usable());
  SANDBOX_TRY(const std::string body, call("GET", "/ports"));
  return rest::read_ports(body);
}

Result<void> RemoteBox::unexpose(std::uint16_t port) {
  SANDBOX_CHECK(open_for_requests());
  SANDBOX_TRY(const std::string none, call("DELETE", "/ports/" + std::to_string(port) + "/expose"));
  return {};
}

Result<void> RemoteBox::close() {
  std::lock_guard one_at_a_time(close_mutex_);
  closed_.store(true, std::memory_order_release);
  if (destroyed_) return {};
  SANDBOX_TRY(const std::string path, ClientState::sandbox_path(id_));
  auto removed = client_->call("DELETE", path, {}, client_->usual_deadline());
  destroyed_ = true;
  link_->close(Error(ErrorCode::cancelled, id_ + " was closed"));
  if (removed) return {};
  if (removed.error().code() != ErrorCode::not_found) return std::move(removed).error();
  removed.ignore("it had ended already");
  return {};
}

Result<void> RemoteBox::detach() {
  std::lock_guard one_at_a_time(close_mutex_);
  if (closed_.exchange(true)) return {};
  destroyed_ = true;
  link_->close(Error(ErrorCode::cancelled, id_ + " was left"));
  return {};
}

void RemoteBox::handle_gone() noexcept {
  if (hold_ == Hold::visits) detach().ignore("the handle is gone: nobody is left to tell");
  else close().ignore("the handle is gone: nobody is left to tell");
}

}  // namespace sandbox::client
