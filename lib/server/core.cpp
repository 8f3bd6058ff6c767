#include "server/core.hpp"

#include <utility>

#include "core/text.hpp"
#include "server/on_reactor.hpp"

namespace sandbox::server {
namespace {

constexpr auto kSweepEvery = std::chrono::hours(1);

}  // namespace

Core::Core(Leaves leaves, Settings settings)
    : leaves_(std::move(leaves)),
      settings_(std::move(settings)),
      quota_({settings_.max_sandboxes, settings_.max_memory, settings_.max_cpu}),
      reserved_events_(leaves_.events->last() + kEventBlock) {}

Core::~Core() = default;

void Core::attach(std::shared_ptr<RuntimeState> runtime) { runtime_ = std::move(runtime); }

// ---- requests ---------------------------------------------------------------------------------------------------------

void Core::refuse(http::Exchange& exchange, unsigned status, ErrorCode code, std::string_view text, unsigned retry_after) {
  http::Response response = http::json_response(status, rest::write_error(code, text) + "\n");
  if (retry_after > 0) response.headers.set("Retry-After", std::to_string(retry_after));
  exchange.respond(std::move(response));
}

void Core::answer(http::Exchange& exchange, unsigned status, std::string json) {
  json += '\n';
  exchange.respond(http::json_response(status, std::move(json)));
}

void Core::serve(ExchangePtr exchange) {
  const http::RequestHead& request = exchange->request();
  const Match match = match_route(request.method, request.raw_path, http::wants_websocket(request));
  if (match.kind != Match::Kind::route || match.route != Route::metrics) {
    const auto begin = core::SteadyClock::now();
    exchange->on_finished([weak = weak_from_this(), begin, method = request.method, pattern = match.pattern](unsigned status) {
      if (const auto self = weak.lock(); self && status != 0)
        self->leaves_.metrics->request(method, pattern, status, core::SteadyClock::now() - begin);
    });
  }
  switch (match.kind) {
    case Match::Kind::not_found: return exchange->respond(http::text_response(404, "404 page not found\n"));
    case Match::Kind::wrong_method: {
      http::Response response = http::text_response(405, "Method Not Allowed\n");
      response.headers.set("Allow", match.allow);
      return exchange->respond(std::move(response));
    }
    case Match::Kind::redirect: {
      http::Response response = http::text_response(301, "");
      response.headers.set("Location", request.query.empty() ? match.location : match.location + "?" + request.query);
      return exchange->respond(std::move(response));
    }
    case Match::Kind::route: break;
  }
  const http::Peer& peer = exchange->peer();
  const AuthRequest asked{request.method, request.path, request.headers, peer.is_unix(), peer.address};
  if (match.guard == Guard::admin && !peer.is_unix())
    return refuse(*exchange, 403, ErrorCode::permission_denied, "admin routes are only accessible via Unix socket");
  if (match.guard != Guard::tenant) return dispatch(exchange, match, Authenticator::anonymous(asked));
  const AuthVerdict verdict = leaves_.authenticator->check(asked, std::chrono::system_clock::now());
  if (const auto* refusal = std::get_if<AuthRefusal>(&verdict))
    return refuse(*exchange, refusal->status, refusal->code, refusal->text, refusal->retry_after);
  dispatch(exchange, match, std::get<Caller>(verdict));
}

void Core::dispatch(const ExchangePtr& exchange, const Match& match, const Caller& caller) {
  switch (match.route) {
    case Route::create_sandbox: return create(exchange, caller);
    case Route::list_sandboxes: return list(*exchange, caller);
    case Route::get_sandbox: return get(*exchange, match.id, caller);
    case Route::destroy_sandbox: return destroy_route(exchange, match.id, caller);
    case Route::sandbox_stats: return stats(exchange, match.id, caller);
    case Route::pause_sandbox: return freeze(exchange, match.id, caller, true);
    case Route::resume_sandbox: return freeze(exchange, match.id, caller, false);
    case Route::session: return session(exchange, match.id, caller);
    case Route::expose_port: return expose(exchange, match, caller);
    case Route::close_port: return close_tunnel(*exchange, match, caller);
    case Route::list_ports: return list_ports(*exchange, match.id, caller);
    case Route::connect_port: return connect_port(exchange, match, caller);
    case Route::proxy_port: return proxy_port(exchange, match, caller);
    case Route::save_template: return save_template_route(exchange, caller);
    case Route::list_templates: return list_templates(*exchange, caller);
    case Route::get_template: return get_template(*exchange, match.id, caller);
    case Route::delete_template: return delete_template_route(*exchange, match.id, caller);
    case Route::list_profiles: return list_profiles(*exchange);
    case Route::events: return events(exchange, caller);
    case Route::event_history: return event_history(*exchange, caller);
    case Route::list_pools: return list_pools(*exchange);
    case Route::resize_pool: return resize_pool(exchange, match.id);
    case Route::flush_pool: return flush_pool(exchange, match.id);
    case Route::health: return health(*exchange);
    case Route::metrics: return metrics(*exchange);
  }
}

RecordPtr Core::find(const std::string& id, const Caller& caller) const {
  const auto found = records_.find(id);
  return found != records_.end() && caller.may_see(found->second->owner) ? found->second : nullptr;
}

RecordPtr Core::find_box(const std::string& box_id) const {
  if (const auto found = records_.find(public_id(box_id, settings_.node_id)); found != records_.end()) return found->second;
  // Made under another name of this node: it keeps its id.
  for (const auto& [id, record] : records_)
    if (record->box && record->box->id() == box_id) return record;
  return nullptr;
}

RecordPtr Core::need(http::Exchange& exchange, const std::string& id, const Caller& caller) const {
  RecordPtr record = find(id, caller);
  if (!record) refuse(exchange, 404, ErrorCode::not_found, "sandbox not found");
  return record;
}

std::string Core::public_id(const std::string& box_id, std::string_view node) {
  constexpr std::string_view kPrefix = "sbx-";
  if (node.empty() || !box_id.starts_with(kPrefix)) return box_id;
  return std::string(kPrefix).append(node) + "-" + box_id.substr(kPrefix.size());
}

void Core::publish(std::string_view type, const Record& record, std::string data) {
  const std::uint64_t id = leaves_.events->publish(type, record.id, record.owner, std::move(data), std::chrono::system_clock::now());
  if (id + kEventBlock / 2 < reserved_events_) return;
  reserved_events_ += kEventBlock;
  leaves_.store->set_meta(kLastEvent, std::to_string(reserved_events_));
}

// ---- the runtime and time ---------------------------------------------------------------------------------------------

void Core::on_runtime_event(const RuntimeEvent& event) {
  switch (event.kind) {
    case RuntimeEvent::Kind::created:
      made_how_[event.sandbox_id] = event.detail;  // its completion comes right behind
      return;
    case RuntimeEvent::Kind::lost:
      if (const RecordPtr found = find_box(event.sandbox_id)) lost(found, event.detail);
      return;
    case RuntimeEvent::Kind::pool_refill_failed: return leaves_.log->warning("pool refill failed", {{"detail", event.detail}});
    case RuntimeEvent::Kind::launcher_restarted: return leaves_.log->warning("launcher restarted", {{"detail", event.detail}});
    default: return;
  }
}

void Core::start() {
  reaper_timer_.emplace(context());
  sweep_timer_.emplace(context());
  waiting_timer_.emplace(context());
  quota_.on_freed([weak = weak_from_this()] {
    const auto self = weak.lock();
    if (!self || self->waiting_.empty() || std::exchange(self->serving_waiting_, true)) return;
    // Not at once: whoever gives a place back is in the middle of something.
    boost::asio::post(self->context(), [weak] {
      if (const auto core = weak.lock()) core->serve_waiting();
    });
  });
  arm_reaper();
  sweep();
  warm_pools({});
}

void Core::stop() {
  stopping_ = true;
  end_waiting(core::TimePoint::max());
  if (reaper_timer_) reaper_timer_->cancel();
  if (sweep_timer_) sweep_timer_->cancel();
}

Result<void> Core::end(bool keep) {
  workers_.stop();
  dialers_.stop();
  // Nobody hears of later ones: the next daemon goes on right behind.
  on_reactor(context(), [&] { leaves_.store->set_meta(kLastEvent, std::to_string(leaves_.events->last())); });
  if (!keep) {
    for (const auto& [id, record] : records_) leaves_.store->erase_sandbox(id);
  }
  return leaves_.store->flush();
}

void Core::arm_reaper() {
  const core::TimePoint next = reaper_.next();
  if (!reaper_timer_ || stopping_ || next == reaper_armed_for_) return;
  reaper_armed_for_ = next;
  if (next == core::TimePoint::max()) {
    reaper_timer_->cancel();
    return;
  }
  reaper_timer_->expires_at(next);
  reaper_timer_->async_wait([weak = weak_from_this()](boost::system::error_code error) {
    const auto self = weak.lock();
    if (error || !self || self->stopping_) return;
    self->reaper_armed_for_ = core::TimePoint::max();
    for (const std::string& id : self->reaper_.expire(core::SteadyClock::now())) {
      const auto found = self->records_.find(id);
      if (found != self->records_.end() && found->second->life.disconnected()) self->destroy(RecordPtr(found->second));
    }
    self->arm_reaper();
  });
}

void Core::sweep() {
  expire_templates();
  drop_unused_content();
  sweep_timer_->expires_after(kSweepEvery);
  sweep_timer_->async_wait([weak = weak_from_this()](boost::system::error_code error) {
    if (const auto self = weak.lock(); self && !error && !self->stopping_) self->sweep();
  });
}

void Core::apply(Settings settings) {
  std::vector<SandboxSpec> dropped;
  for (const ProfileSettings& old : settings_.profiles) {
    const ProfileSettings* now = settings.find(old.info.name);
    if (now == nullptr || !(now->spec == old.spec)) dropped.push_back(old.spec);
  }
  settings_ = std::move(settings);
  quota_.set_limits({settings_.max_sandboxes, settings_.max_memory, settings_.max_cpu});
  warm_pools(std::move(dropped));
}

void Core::warm_pools(std::vector<SandboxSpec> dropped) {
  std::vector<std::pair<SandboxSpec, std::uint32_t>> wanted;
  for (const ProfileSettings& profile : settings_.profiles) {
    const auto chosen = resized_.find(profile.info.name);
    wanted.emplace_back(profile.spec, chosen != resized_.end() ? chosen->second : profile.warm);
  }
  // Looking at images may touch the disk: not here.
  const bool posted = workers_.post([runtime = runtime_, log = leaves_.log, dropped = std::move(dropped), wanted = std::move(wanted)] {
    for (const SandboxSpec& spec : dropped) runtime->set_warm(spec, 0).ignore("the profile is gone anyway");
    for (const auto& [spec, count] : wanted) {
      if (auto set = runtime->set_warm(spec, count); !set)
        log->warning("pool not warmed", {{"profile", spec.user()}, {"error", set.error().to_string()}});
    }
  });
  static_cast<void>(posted);  // refused only while stopping
}

}  // namespace sandbox::server
