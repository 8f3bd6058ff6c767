#include <algorithm>
#include <charconv>
#include <utility>

#include "core/text.hpp"
#include "server/core.hpp"

/// Ports of a sandbox: tunnels, the path proxy and raw connections.
namespace sandbox::server {
namespace {

constexpr auto kDialTime = std::chrono::seconds(1);  ///< a refused dial is tried again that long
constexpr std::chrono::milliseconds kLongestDial{30000};
constexpr auto kFirstLook = std::chrono::milliseconds(5);
constexpr auto kLastLook = std::chrono::milliseconds(100);
constexpr double kDefaultWait = 30, kLongestWait = 120;  ///< seconds

/// 1…65535, or nothing.
std::optional<std::uint16_t> read_port(const std::string& text) {
  const auto number = core::parse_number<std::uint32_t>(text);
  if (!number || *number == 0 || *number > 65535) return std::nullopt;
  return static_cast<std::uint16_t>(*number);
}

/// What no application inside may see: who the caller is towards this daemon.
const std::vector<std::string> kPrivateHeaders = {"Authorization",  "X-Sandbox-*",       "X-Forwarded-For",
                                                  "X-Forwarded-Proto", "X-Forwarded-Host"};

}  // namespace

/// A port that is waited for on somebody's behalf.
struct Core::Exposing {
  ExchangePtr exchange;
  RecordPtr record;
  std::uint16_t port = 0;
  rest::ExposeBody wish;
  core::TimePoint deadline{};
  std::optional<boost::asio::steady_timer> timer;  ///< until the next look
  bool given_up = false;  ///< the client has gone, and the port is free again: somebody else may have it by now
  bool ended = false;     ///< answered

  void give_up() {
    if (ended || std::exchange(given_up, true)) return;
    record->tunnels.erase(port);
    if (timer) timer->cancel();
  }
};

// ---- tunnels ------------------------------------------------------------------------------------------------------------

void Core::expose(const ExchangePtr& exchange, const Match& match, const Caller& caller) {
  const RecordPtr record = need(*exchange, match.id, caller);
  if (!record) return;
  const auto port = read_port(match.port);
  if (!port) return refuse(*exchange, 400, ErrorCode::invalid_argument, "invalid port number");
  if (record->state() != SandboxState::running) return refuse(*exchange, 409, ErrorCode::failed_precondition, "sandbox is not running");
  if (record->tunnels.contains(*port)) return refuse(*exchange, 409, ErrorCode::already_exists, "port already exposed");
  if (record->tunnels.size() >= settings_.max_tunnels)
    return refuse(*exchange, 429, ErrorCode::resource_exhausted, "tunnel limit reached (" + std::to_string(settings_.max_tunnels) + ")");
  record->tunnels.emplace(*port, Tunnel{});  // taken while it is waited for
  auto wait = std::make_shared<Exposing>(Exposing{exchange, record, *port, {}, {}, {}, false, false});
  exchange->read_body(rest::kMaxBody, [weak = weak_from_this(), wait](Result<std::string> body) {
    const auto self = weak.lock();
    if (!self) return body.ignore("the service has ended");
    if (body && !body->empty()) {
      // A bad body counts as none.
      if (auto read = rest::read_expose(*body)) wait->wish = *read;
      else read.ignore("counts as none");
    } else if (!body) {
      if (body.error().code() == ErrorCode::unavailable) wait->give_up();
      body.ignore("counts as none");
    }
    const double seconds = std::clamp(wait->wish.timeout.value_or(kDefaultWait), 0.0, kLongestWait);
    const auto time = std::chrono::duration_cast<core::Duration>(std::chrono::duration<double>(seconds > 0 ? seconds : kDefaultWait));
    wait->deadline = core::SteadyClock::now() + time;
    wait->exchange->on_cancelled([weak_wait = std::weak_ptr(wait)] {
      if (const auto waiting = weak_wait.lock()) waiting->give_up();
    });
    self->wait_listening(wait, kFirstLook);
  });
}

/// Looks for a listener inside until there is one. Nothing is connected: a server that takes one client only keeps it.
void Core::wait_listening(std::shared_ptr<Exposing> wait, core::Duration pause) {
  if (wait->given_up) return end_expose(*wait, Error(ErrorCode::cancelled, "the caller has gone"));
  const RecordPtr& record = wait->record;
  const auto box = std::dynamic_pointer_cast<runtime::LocalBox>(record->box);
  if (!box || record->gone || !record->tunnels.contains(wait->port)) return end_expose(*wait, Error(ErrorCode::unavailable, "sandbox is gone"));
  const bool posted = offload([box, port = wait->port] { return box->listening(port); }, [this, wait, pause](Result<bool> listening) {
    if (wait->given_up) {
      listening.ignore("nobody wants to know any more");
      return wait_listening(wait, pause);
    }
    if (!listening) return end_expose(*wait, std::move(listening).error());
    if (*listening) return end_expose(*wait, {});
    if (core::SteadyClock::now() + pause >= wait->deadline)
      return end_expose(*wait, Error(ErrorCode::deadline_exceeded, "nobody listens on port " + std::to_string(wait->port)));
    wait->timer.emplace(context(), pause);
    wait->timer->async_wait([weak = weak_from_this(), wait, pause](boost::system::error_code) {
      if (const auto self = weak.lock()) self->wait_listening(wait, std::min<core::Duration>(pause * 2, kLastLook));
    });
  });
  if (!posted) end_expose(*wait, Error(ErrorCode::unavailable, "shutting down"));
}

void Core::end_expose(Exposing& wait, Result<void> ready) {
  wait.ended = true;
  const RecordPtr& record = wait.record;
  if (ready && record->gone) ready = Error(ErrorCode::unavailable, "sandbox is gone");
  Result<ExposedPort> opened = ready ? open_tunnel(record, wait.port, wait.wish.host_port) : Result<ExposedPort>(std::move(ready).error());
  if (opened) {
    persist(*record);
    return answer(*wait.exchange, 200, rest::write(*opened));
  }
  if (!wait.given_up) record->tunnels.erase(wait.port);
  leaves_.log->info("expose failed", {{"sandbox", record->id}, {"port", wait.port}, {"error", opened.error().to_string()}});
  const ErrorCode code = opened.error().code();
  if (code == ErrorCode::already_exists && wait.wish.host_port != 0)
    return refuse(*wait.exchange, 409, code, "host port " + std::to_string(wait.wish.host_port) + " is in use");
  refuse(*wait.exchange, 502, code, "port expose failed");
}

Result<ExposedPort> Core::open_tunnel(const RecordPtr& record, std::uint16_t port, std::uint16_t host_port) {
  runtime::PortRelayOptions options;
  options.host_address = settings_.tunnel_bind_address;
  options.max_connections = settings_.max_connections_per_tunnel;
  options.close_excess = true;
  const auto dial = [weak = std::weak_ptr<driver::Box>(record->box), port]() -> Result<core::UniqueFd> {
    const auto box = weak.lock();
    if (!box) return Error(ErrorCode::unavailable, "the sandbox is gone");
    SANDBOX_TRY(const int fd, box->connect(port, kDialTime));
    return core::UniqueFd(fd);
  };
  // One port if one is asked for, else the first free one of the range, else any.
  std::uint32_t first = host_port, last = host_port;
  if (host_port == 0 && settings_.tunnel_port_max != 0) {
    first = std::max<std::uint32_t>(settings_.tunnel_port_min, 1);
    last = settings_.tunnel_port_max;
  } else if (host_port != 0 && settings_.tunnel_port_max != 0 &&
             (host_port < settings_.tunnel_port_min || host_port > settings_.tunnel_port_max)) {
    return Error(ErrorCode::permission_denied, "host port outside of the configured range");
  }
  for (std::uint32_t candidate = first;; ++candidate) {
    options.host_port = static_cast<std::uint16_t>(candidate);
    auto relay = runtime::PortRelay::open(runtime_->reactor(), dialers_, options, dial);
    if (!relay) {
      if (relay.error().code() != ErrorCode::already_exists || candidate >= last) return std::move(relay).error();
      relay.ignore("the next port is tried");
      continue;
    }
    Tunnel& tunnel = record->tunnels[port];
    tunnel.relay = *std::move(relay);
    tunnel.port = ExposedPort{port, tunnel.relay->host_port(), settings_.tunnel_bind_address};
    return tunnel.port;
  }
}

void Core::close_tunnel(http::Exchange& exchange, const Match& match, const Caller& caller) {
  const RecordPtr record = need(exchange, match.id, caller);
  if (!record) return;
  const auto port = read_port(match.port);
  if (!port) return refuse(exchange, 400, ErrorCode::invalid_argument, "invalid port number");
  const auto found = record->tunnels.find(*port);
  if (found == record->tunnels.end() || !found->second.relay) return refuse(exchange, 404, ErrorCode::not_found, "port not exposed");
  record->tunnels.erase(found);
  persist(*record);
  exchange.respond(http::Response{204, {}, {}});
}

void Core::close_tunnels(Record& record) { record.tunnels.clear(); }

void Core::list_ports(http::Exchange& exchange, const std::string& id, const Caller& caller) {
  const RecordPtr record = need(exchange, id, caller);
  if (!record) return;
  std::vector<ExposedPort> ports;
  for (const auto& [port, tunnel] : record->tunnels)
    if (tunnel.relay) ports.push_back(tunnel.port);
  answer(exchange, 200, rest::write(ports));
}

// ---- connections ----------------------------------------------------------------------------------------------------------

void Core::dial(const RecordPtr& record, std::uint16_t port, std::chrono::milliseconds wait, std::function<void(Result<core::UniqueFd>)> done) {
  auto& reactor = context();
  const bool posted = dialers_.post([box = record->box, port, wait, done, &reactor, weak = weak_from_this()] {
    auto fd = box->connect(port, wait);
    auto socket = std::make_shared<Result<core::UniqueFd>>(fd ? Result<core::UniqueFd>(core::UniqueFd(*fd)) : Result<core::UniqueFd>(std::move(fd).error()));
    boost::asio::post(reactor, [weak, socket, done] {
      if (weak.lock()) done(std::move(*socket));
      else socket->ignore("the service has ended");
    });
  });
  if (!posted) done(Error(ErrorCode::unavailable, "shutting down"));
}

void Core::connect_port(const ExchangePtr& exchange, const Match& match, const Caller& caller) {
  const RecordPtr record = need(*exchange, match.id, caller);
  if (!record) return;
  const auto port = read_port(match.port);
  if (!port) return refuse(*exchange, 400, ErrorCode::invalid_argument, "invalid port number");
  if (record->paused) return refuse(*exchange, 409, ErrorCode::failed_precondition, "sandbox is paused");
  // ?wait_ms: how long the caller waits for somebody to listen.
  const auto asked = core::parse_number<std::uint32_t>(exchange->request().query_value("wait_ms").value_or(""));
  const auto wait = asked ? std::min(std::chrono::milliseconds(*asked), kLongestDial) : std::chrono::milliseconds(kDialTime);
  dial(record, *port, wait, [weak = weak_from_this(), exchange, record](Result<core::UniqueFd> fd) {
    if (!fd) {
      fd.ignore("answered");
      return refuse(*exchange, 502, ErrorCode::unavailable, "upstream connection failed");
    }
    auto kept = std::make_shared<core::UniqueFd>(*std::move(fd));
    http::WebSocketOptions options;
    options.read = http::WebSocketOptions::Read::stream;
    exchange->upgrade(std::move(options), [weak, record, kept](Result<std::shared_ptr<http::WebSocket>> socket) {
      if (!socket) return socket.ignore("answered by the upgrade");
      const auto self = weak.lock();
      if (!self || record->gone) return (*socket)->close(http::close_code::kGoingAway, "sandbox destroyed");
      auto relay = SocketRelay::make(self->context(), std::move(*kept), *socket);
      if (!relay) {
        relay.ignore("told by the close");
        return (*socket)->close(http::close_code::kInternal, "upstream connection failed");
      }
      record->connections.insert(*relay);
      (*relay)->start([weak_record = std::weak_ptr<Record>(record), weak_relay = std::weak_ptr<SocketRelay>(*relay)] {
        if (const auto known = weak_record.lock()) known->connections.erase(weak_relay.lock());
      });
    });
  });
}

void Core::proxy_port(const ExchangePtr& exchange, const Match& match, const Caller& caller) {
  const RecordPtr record = need(*exchange, match.id, caller);
  if (!record) return;
  const auto port = read_port(match.port);
  if (!port) return refuse(*exchange, 400, ErrorCode::invalid_argument, "invalid port number");
  const auto tunnel = record->tunnels.find(*port);
  if (tunnel == record->tunnels.end() || !tunnel->second.relay) return refuse(*exchange, 403, ErrorCode::permission_denied, "port not exposed");

  const http::RequestHead& request = exchange->request();
  const http::Peer& peer = exchange->peer();
  const bool upgrade = http::wants_websocket(request);
  const std::string host(request.headers.get("Host"));
  if (const std::string* origin = request.headers.find("Origin"); upgrade && origin != nullptr && !peer.is_unix()) {
    if (!origin->ends_with("://" + host)) return refuse(*exchange, 403, ErrorCode::permission_denied, "cross-origin WebSocket request blocked");
  }
  http::ProxyOptions options;
  options.target = request.query.empty() ? match.rest : match.rest + "?" + request.query;
  options.strip = kPrivateHeaders;
  options.add.set("X-Forwarded-For", peer.address);
  options.add.set("X-Forwarded-Proto", peer.is_tls() ? "https" : "http");
  options.add.set("X-Forwarded-Host", host);
  options.add.set("X-Sandbox-ID", record->id);
  options.bad_gateway = http::json_response(502, rest::write_error(ErrorCode::unavailable, "proxy error") + "\n");
  dial(record, *port, kDialTime, [exchange, upgrade, options = std::move(options)](Result<core::UniqueFd> fd) mutable {
    if (!fd) {
      fd.ignore("answered");
      return refuse(*exchange, 502, ErrorCode::unavailable, upgrade ? "upstream connection failed" : "proxy error");
    }
    exchange->proxy(*std::move(fd), std::move(options));
  });
}

}  // namespace sandbox::server
