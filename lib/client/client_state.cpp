#include "client/client_state.hpp"

#include <algorithm>
#include <cstdlib>

#include <boost/asio/post.hpp>

#include <sandbox/version.hpp>

#include "client/remote_box.hpp"
#include "client/signing.hpp"
#include "client/websocket_bytes.hpp"
#include "crypto/secure_channel.hpp"
#include "rest/rest.hpp"

namespace sandbox::client {
namespace {

constexpr std::string_view kSubprotocol = "sandbox.v2";
constexpr std::size_t kMaxId = 128;

http::ClientOptions http_options(const ClientOptions& options) {
  http::ClientOptions made;
  made.ca_file = options.ca_file();
  made.user_agent = "sandbox-client/" SANDBOX_VERSION_STRING;
  return made;
}

/// JSON can carry nothing but UTF-8; silently changed names would be worse than an error.
Result<void> check_text(const SandboxSpec& spec) {
  bool fine = rest::is_utf8(spec.workdir()) && rest::is_utf8(spec.hostname()) && rest::is_utf8(spec.image().reference()) &&
              rest::is_utf8(spec.backend());
  for (const auto& [name, value] : spec.env()) fine = fine && rest::is_utf8(name) && rest::is_utf8(value);
  if (!fine) return Error(ErrorCode::invalid_argument, "a spec for a daemon must be UTF-8 text");
  return {};
}

}  // namespace

ClientState::ClientState(std::unique_ptr<http::Client> http, ClientOptions options)
    : options_(std::move(options)), http_(std::move(http)) {}

ClientState::~ClientState() {
  // Nobody holds this any more, so what is still queued finds nothing to do. When this returns no thread of ours runs, or
  // a program's exit would pull the libraries away from under it. (On one of them, that one ends on its own.)
  creators_.stop();
  dialers_.stop();
  reactor_.stop();
}

Result<std::shared_ptr<ClientState>> ClientState::open(const std::string& endpoint, ClientOptions options) {
  SANDBOX_TRY(http::Endpoint where, http::Endpoint::parse(endpoint));
  if (!http::valid_field("Authorization", options.token()))
    return Error(ErrorCode::invalid_argument, "a token may not have control characters");
  if (options.tenant() && !http::valid_field("X-Sandbox-Identity", options.tenant()->name))
    return Error(ErrorCode::invalid_argument, "a tenant's name may not have control characters");
  SANDBOX_TRY(auto http, http::Client::make(std::move(where), http_options(options)));
  std::shared_ptr<ClientState> state(new ClientState(std::move(http), std::move(options)));
  SANDBOX_TRY(const std::string body, state->get("/health"));
  SANDBOX_TRY(const Health health, rest::read_health(body));
  if (std::find(health.protocols.begin(), health.protocols.end(), "v2") == health.protocols.end())
    return Error(ErrorCode::unsupported, "the daemon does not speak v2");
  return state;
}

Result<void> ClientState::usable() const {
  if (closed_.load()) return Error(ErrorCode::failed_precondition, "this Client is closed");
  return {};
}

Result<http::Headers> ClientState::credentials(std::string_view method, std::string_view target) const {
  http::Headers headers;
  if (const auto& tenant = options_.tenant()) {
    SANDBOX_TRY(const std::string nonce, make_nonce());
    const auto path = http::percent_decode(target.substr(0, target.find('?')));
    const auto now = std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch());
    headers = sign_request(*tenant, method, path ? std::string_view(*path) : target, now.count(), nonce);
  }
  if (!options_.token().empty()) headers.add("Authorization", "Bearer " + options_.token());
  return headers;
}

Result<std::string> ClientState::sandbox_path(const std::string& id, std::string_view rest) {
  const bool plain = std::all_of(id.begin(), id.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
  });
  if (id.empty() || id.size() > kMaxId || !plain || id.front() == '.') return Error(ErrorCode::invalid_argument, "not the id of a sandbox");
  return "/sandboxes/" + id + std::string(rest);
}

Result<std::string> ClientState::call(std::string method, const std::string& target, std::string body, core::TimePoint deadline,
                                      const std::stop_token& stop) {
  if (reactor_.on_this_thread())
    return Error(ErrorCode::failed_precondition, "a blocking call on the client's own thread; use the async_ form");
  http::Request request;
  SANDBOX_TRY(request.headers, credentials(method, target));
  request.method = std::move(method);
  request.target = target;
  if (!body.empty()) request.headers.add("Content-Type", "application/json");
  request.body = std::move(body);
  SANDBOX_TRY(http::Response response, http_->request(request, deadline, stop));
  if (response.status >= 200 && response.status < 300) return std::move(response.body);
  return rest::read_error(static_cast<int>(response.status), response.body);
}

Result<std::shared_ptr<driver::Box>> ClientState::create(const CreateRequest& request, const CreateOptions& options) {
  SANDBOX_CHECK(usable());
  CreateRequest wanted = request;
  if (const auto& spec = request.spec()) {
    SANDBOX_CHECK(check_text(*spec));
    // The daemon's own connection to the agent need not be sealed: ours is, inside it. Who the user is it knows itself.
    SandboxSpec plain = *spec;
    plain.sealed(false).user({});
    wanted.spec(std::move(plain));
  }
  SANDBOX_TRY(const std::string body,
              call("POST", "/sandboxes", rest::write(wanted, options.is_cold()), core::SteadyClock::now() + options.deadline()));
  SANDBOX_TRY(SandboxInfo info, rest::read_sandbox(body));
  SANDBOX_CHECK(sandbox_path(info.id));
  SandboxSpec spec = info.spec ? *std::move(info.spec) : request.spec().value_or(SandboxSpec());
  if (request.is_sealed()) spec.sealed();
  auto link = open_link(info.id, request.is_sealed(), std::nullopt);
  return std::shared_ptr<driver::Box>(std::make_shared<RemoteBox>(shared_from_this(), std::move(info.id), std::move(spec),
                                                                  std::move(info.unenforced), std::move(link), RemoteBox::Hold::owns));
}

std::function<void()> ClientState::async_create(CreateRequest request, CreateOptions options,
                                                std::function<void(Result<std::shared_ptr<driver::Box>>)> done) {
  auto cancelled = std::make_shared<std::atomic<bool>>(false);
  const bool posted = creators_.post([self = weak_from_this(), request = std::move(request), options, done, cancelled]() mutable {
    auto state = self.lock();
    if (!state) return done(Error(ErrorCode::cancelled, "the client is gone"));
    Result<std::shared_ptr<driver::Box>> made = Error(ErrorCode::cancelled, "the creation was cancelled");
    if (!cancelled->load()) {
      made.ignore("not cancelled");
      made = state->create(request, options);
      if (made && cancelled->load()) {
        (*made)->close().ignore("nobody wants it any more");
        made = Error(ErrorCode::cancelled, "the creation was cancelled");
      }
    }
    done(std::move(made));
    // Not released here: this thread could not join itself.
    auto& context = state->reactor_.context();
    boost::asio::post(context, [state = std::move(state)] {});
  });
  if (!posted) done(Error(ErrorCode::cancelled, "the client is gone"));
  return [cancelled] { cancelled->store(true); };
}

Result<std::shared_ptr<driver::Box>> ClientState::attach(const std::string& id, const OpenOptions& options) {
  SANDBOX_CHECK(usable());
  SANDBOX_TRY(const std::string path, sandbox_path(id));
  SANDBOX_TRY(const std::string body, get(path));
  SANDBOX_TRY(SandboxInfo info, rest::read_sandbox(body));
  SandboxSpec spec = info.spec ? *std::move(info.spec) : SandboxSpec();
  if (options.is_sealed()) spec.sealed();
  auto link = open_link(id, options.is_sealed(), options.pin());
  return std::shared_ptr<driver::Box>(std::make_shared<RemoteBox>(shared_from_this(), id, std::move(spec), std::move(info.unenforced),
                                                                  std::move(link), RemoteBox::Hold::visits,
                                                                  info.state == SandboxState::paused));
}

std::shared_ptr<link::Link> ClientState::open_link(const std::string& id, bool sealed, std::optional<Fingerprint> pin) {
  session::Options session;
  session.software = "sandbox-client/" SANDBOX_VERSION_STRING;
  session.heartbeat = options_.heartbeat();
  session.compress = options_.is_compressed();
  link::Reconnect reconnect;
  reconnect.window = options_.reconnect();
  // Not held while it runs: then the reactor's thread might be the last to let go. A destructor elsewhere waits for it.
  reconnect.dial = [this, weak = weak_from_this(), id, sealed, pin](core::TimePoint deadline, std::optional<Fingerprint> known,
                                                                    link::Reconnect::Done done) {
    if (!weak.expired()) dial(id, sealed, known ? known : pin, deadline, std::move(done));
  };
  return link::Link::make(std::move(reconnect), std::move(session), reactor_);
}

void ClientState::dial(const std::string& id, bool sealed, std::optional<Fingerprint> known, core::TimePoint deadline,
                       link::Reconnect::Done done) {
  const auto connect = [](ClientState& state, const std::string& box, bool seal, std::optional<Fingerprint> pin,
                          core::TimePoint until) -> Result<link::Transport> {
    link::Transport transport;
    if (seal) {
      crypto::ClientTrust trust;
      trust.pin = pin;
      SANDBOX_TRY(transport.channel, crypto::SecureChannel::client(std::move(trust)));
    }
    http::WebSocketRequest request;
    SANDBOX_TRY(request.target, sandbox_path(box, "/ws"));
    SANDBOX_TRY(request.headers, state.credentials("GET", request.target));
    request.subprotocol = kSubprotocol;
    auto socket = state.http_->connect_websocket(request, until);
    if (!socket) {
      // Which sandbox is gone the caller knows; that it is gone ends the link.
      if (socket.error().code() != ErrorCode::not_found) return std::move(socket).error();
      socket.ignore("said in other words");
      return Error(ErrorCode::not_found, "the daemon has no such sandbox any more");
    }
    transport.stream = websocket_bytes(*std::move(socket));
    return transport;
  };
  auto shared = std::make_shared<link::Reconnect::Done>(std::move(done));
  // Not held: the destructor waits for this, or is called by `done`, behind which nothing is touched.
  dialers_.post([this, weak = weak_from_this(), id, sealed, known, deadline, connect, shared] {
    if (weak.expired()) return;  // nobody waits
    (*shared)(connect(*this, id, sealed, known, deadline));
  });
}

}  // namespace sandbox::client
