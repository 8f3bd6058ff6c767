#include <algorithm>
#include <utility>

#include "server/core.hpp"

/// GET /sandboxes/{id}/ws: sessions begin, take over and end.
namespace sandbox::server {
namespace {

constexpr std::string_view kV2 = "sandbox.v2";

/// "http://Example.com:80" -> "Example.com:80".
std::string_view authority_of(std::string_view origin) {
  const std::size_t scheme = origin.find("://");
  return scheme == std::string_view::npos ? origin : origin.substr(scheme + 3);
}

}  // namespace

void Core::session(const ExchangePtr& exchange, const std::string& id, const Caller& caller) {
  const RecordPtr record = need(*exchange, id, caller);
  if (!record) return;
  const http::RequestHead& request = exchange->request();
  if (const std::string* origin = request.headers.find("Origin"); origin != nullptr && !exchange->peer().is_unix()) {
    if (!http::same_token(authority_of(*origin), request.headers.get("Host")))
      return exchange->respond(http::text_response(403, "cross-origin WebSocket request blocked\n"));
  }
  if (stopping_) return refuse(*exchange, 503, ErrorCode::unavailable, "shutting down", 2);
  if (record->paused) return refuse(*exchange, 409, ErrorCode::failed_precondition, "sandbox is paused");
  const auto offered = http::offered_subprotocols(request);
  const bool v2 = std::find(offered.begin(), offered.end(), kV2) != offered.end();
  http::WebSocketOptions options;
  if (v2) {
    options.subprotocol = kV2;
    options.read = http::WebSocketOptions::Read::stream;
  } else {
    options.max_message = kV1MaxMessage;
  }
  exchange->upgrade(std::move(options), [weak = weak_from_this(), record, v2](Result<std::shared_ptr<http::WebSocket>> socket) {
    if (!socket) return socket.ignore("answered by the upgrade");
    const auto self = weak.lock();
    if (!self || record->gone || self->stopping_) return (*socket)->close(http::close_code::kGoingAway, "sandbox destroyed");
    self->begin_session(record, *std::move(socket), v2);
  });
}

void Core::begin_session(const RecordPtr& record, std::shared_ptr<http::WebSocket> socket, bool v2) {
  const SessionNumber number = ++last_session_;
  const auto attached = v2 ? record->life.attach_v2(number) : record->life.attach_v1(number);
  if (attached.reconnected) {
    reaper_.cancel(record->id);
    arm_reaper();
    rest::JsonWriter data;
    data.begin_object().member("disconnected_at", rest::write_time_seconds(attached.disconnected_at)).end_object();
    publish("sandbox.reconnected", *record, std::move(data).take());
  }
  persist(*record);
  if (attached.replaced) {
    if (const auto old = std::exchange(record->v1, nullptr)) {
      rest::JsonWriter notice;
      notice.begin_object().member("jsonrpc", "2.0").member("method", "session.replaced").key("params").begin_object();
      notice.member("reason", "new session connected").member("sandbox", record->id).end_object().end_object();
      old->send_text(std::move(notice).take());
      old->close(http::close_code::kNormal, "session closed");
    }
  }
  const auto on_end = [weak = weak_from_this(), weak_record = std::weak_ptr<Record>(record), number](SessionEnd how) {
    const auto self = weak.lock();
    const auto known = weak_record.lock();
    if (self && known) self->session_over(known, number, how);
  };
  const auto& link = record->box->link();
  std::shared_ptr<SessionRelay> relay;
  if (v2) {
    const auto keep = std::chrono::duration_cast<std::chrono::milliseconds>(settings_.resume_grace);
    relay = std::make_shared<V2Relay>(link, std::move(socket), keep, on_end);
  } else {
    record->v1 = std::make_shared<V1Relay>(link, std::move(socket), record->id, attached.resumed, on_end,
                                           [weak = weak_from_this(), weak_record = std::weak_ptr<Record>(record), number](std::string id, std::string label) {
                                             if (const auto self = weak.lock()) self->save_over_session(weak_record, number, id, label);
                                           });
    relay = record->v1;
  }
  record->sessions.emplace(number, relay);
  relay->start();
}

void Core::session_over(const RecordPtr& record, SessionNumber number, SessionEnd how) {
  record->sessions.erase(number);
  if (record->gone) return;
  if (record->life.current_v1() == number) record->v1.reset();
  // A daemon that stops ends sessions by itself; what becomes of the sandboxes is decided elsewhere.
  if (stopping_) return;
  switch (record->life.detach(number, how, core::SteadyClock::now(), std::chrono::system_clock::now())) {
    case Lifecycle::After::nothing: return;
    case Lifecycle::After::destroy: return destroy(record);
    case Lifecycle::After::disconnect: break;
  }
  if (!record->life.keep_tunnels()) close_tunnels(*record);
  reaper_.set(record->id, record->life.deadline());
  arm_reaper();
  rest::JsonWriter data;
  data.begin_object().member("ttl", static_cast<std::int64_t>(record->life.ttl().count())).end_object();
  publish("sandbox.disconnected", *record, std::move(data).take());
  persist(*record);
}

void Core::save_over_session(const std::weak_ptr<Record>& weak_record, SessionNumber number, const std::string& id, const std::string& label) {
  const RecordPtr record = weak_record.lock();
  if (!record || record->gone) return;
  save_template(record, record->owner, label, {}, [weak_record, number, id](Result<ServiceTemplate> saved) {
    const RecordPtr known = weak_record.lock();
    if (!known || known->life.current_v1() != number || !known->v1) return saved.ignore("nobody is there to be told");
    rest::JsonWriter reply;
    reply.begin_object().member("jsonrpc", "2.0").key("id").raw(id);
    if (saved) reply.key("result").raw(rest::write(*saved));
    else reply.key("error").begin_object().member("code", -32000).member("message", saved.error().message()).end_object();
    known->v1->send_text(std::move(reply.end_object()).take());
  });
}

}  // namespace sandbox::server
