#include <algorithm>
#include <cmath>
#include <utility>

#include "server/core.hpp"

/// Routes of single sandboxes: create, list, destroy, stats, pause.
namespace sandbox::server {
namespace {

constexpr std::size_t kMaxLabels = 64, kMaxLabelKey = 128, kMaxLabelValue = 256;
/// The CPU share is worked out between two looks this far apart at least; an older first look than kOldSample says
/// nothing about now.
constexpr auto kYoungSample = std::chrono::milliseconds(100);
constexpr auto kOldSample = std::chrono::seconds(5);

std::string check_labels(const Labels& labels) {
  if (labels.size() > kMaxLabels)
    return "too many labels: " + std::to_string(labels.size()) + " exceeds maximum of " + std::to_string(kMaxLabels);
  for (const auto& [key, value] : labels) {
    if (key.size() > kMaxLabelKey)
      return "label key too long: " + std::to_string(key.size()) + " exceeds maximum of " + std::to_string(kMaxLabelKey);
    if (value.size() > kMaxLabelValue)
      return "label value too long: " + std::to_string(value.size()) + " exceeds maximum of " + std::to_string(kMaxLabelValue);
  }
  return {};
}

/// Text for somebody who is not on this host: a failure of ours is not explained to them.
struct Refusal {
  unsigned status;
  std::string text;
};
Refusal creation_refusal(const Error& error) {
  switch (error.code()) {
    case ErrorCode::invalid_argument:
    case ErrorCode::unsupported: return {400, error.message()};
    case ErrorCode::not_found: return {404, error.message()};
    case ErrorCode::failed_precondition: return {409, error.message()};
    case ErrorCode::permission_denied: return {403, error.message()};
    case ErrorCode::resource_exhausted:
    case ErrorCode::deadline_exceeded: return {503, "at capacity"};
    default: return {500, "sandbox creation failed"};
  }
}

}  // namespace

struct Core::Creation {
  ExchangePtr exchange;
  Caller caller;
  Resolved resolved;
  rest::CreateBody body;
  std::unique_ptr<Quota::Reservation> place;
  std::shared_ptr<bool> cancelled = std::make_shared<bool>(false);
};

void Core::create(const ExchangePtr& exchange, const Caller& caller) {
  if (!leaves_.creations->admit(caller.rate_key))
    return refuse(*exchange, 429, ErrorCode::resource_exhausted, "sandbox creation rate limit exceeded", 60);
  exchange->read_body(rest::kMaxBody, [weak = weak_from_this(), exchange, caller](Result<std::string> body) {
    const auto self = weak.lock();
    if (!body) {
      body.ignore("answered");
      return refuse(*exchange, 400, ErrorCode::invalid_argument, "invalid request body");
    }
    if (self) self->create_from(exchange, caller, *body);
  });
}

void Core::create_from(const ExchangePtr& exchange, const Caller& caller, const std::string& body) {
  auto read = rest::read_create(body);
  if (!read) {
    read.ignore("answered");
    return refuse(*exchange, 400, ErrorCode::invalid_argument, "invalid request body");
  }
  if (const std::string wrong = check_labels(read->labels); !wrong.empty())
    return refuse(*exchange, 400, ErrorCode::invalid_argument, wrong);
  if (caller.max_ttl) read->ttl = std::min<std::int64_t>(read->ttl, caller.max_ttl->count());
  read->ttl = std::clamp<std::int64_t>(read->ttl, 0, settings_.max_ttl.count());
  if (stopping_) return refuse(*exchange, 503, ErrorCode::unavailable, "shutting down", 2);
  if (const auto refusal = quota_.check_count(caller.identity, caller.max_concurrent)) {
    if (*refusal == Quota::Refusal::identity)
      return refuse(*exchange, 429, ErrorCode::resource_exhausted, "identity sandbox quota exceeded", 2);
    return refuse(*exchange, 503, ErrorCode::resource_exhausted, "at capacity", 2);
  }
  auto resolved = resolve(*read, caller);
  if (!resolved) {
    const Refusal refusal = creation_refusal(resolved.error());
    return refuse(*exchange, refusal.status, resolved.error().code(), refusal.text);
  }
  const Limits& limits = resolved->spec.limits();
  auto place = quota_.reserve(caller.identity, limits.memory().bytes(), limits.cpus());
  if (!place) return refuse(*exchange, 503, ErrorCode::resource_exhausted, "at capacity", 2);

  Creation creation{exchange, caller, *std::move(resolved), *std::move(read), std::move(place)};
  exchange->on_cancelled([cancelled = creation.cancelled] { *cancelled = true; });
  SandboxSpec spec = creation.resolved.spec;
  auto kept = std::make_shared<Creation>(std::move(creation));
  // A ready member of a pool is taken without a wait; anything else happens on the runtime's own threads.
  const CreateOptions how = kept->body.cold ? CreateOptions().cold() : CreateOptions();
  runtime_->async_create(std::move(spec), how, [weak = weak_from_this(), kept](Result<std::shared_ptr<driver::Box>> made) {
    if (const auto self = weak.lock()) return self->created(std::move(*kept), std::move(made));
    made.ignore("the service has ended");
  });
}

void Core::created(Creation creation, Result<std::shared_ptr<driver::Box>> made) {
  http::Exchange& exchange = *creation.exchange;
  if (!made) {
    const Refusal refusal = creation_refusal(made.error());
    leaves_.log->warning("creation failed", {{"error", made.error().to_string()}, {"identity", creation.caller.identity}});
    return refuse(exchange, refusal.status, made.error().code(), refusal.text, refusal.status == 503 ? 2 : 0);
  }
  auto record = std::make_shared<Record>(std::chrono::seconds(creation.body.ttl), settings_.resume_grace);
  record->box = *std::move(made);
  record->id = public_id(record->box->id());
  record->owner = creation.caller.identity;
  record->image = creation.resolved.image;
  record->profile = creation.resolved.profile;
  record->template_id = creation.body.template_id.value_or("");
  if (record->template_id.empty() && creation.body.spec && creation.body.spec->image().kind() == Image::Kind::template_id)
    record->template_id = creation.body.spec->image().reference();
  record->labels = std::move(creation.body.labels);
  record->created = std::chrono::system_clock::now();
  record->place = std::move(creation.place);
  std::string how = "cold";
  if (const auto found = made_how_.find(record->box->id()); found != made_how_.end()) {
    how = found->second;
    made_how_.erase(found);
  }
  // Nobody would ever learn its id: it ends as it began.
  if (*creation.cancelled || stopping_) {
    destroy(record);
    if (!*creation.cancelled) refuse(exchange, 503, ErrorCode::unavailable, "shutting down", 2);
    return;
  }
  records_.emplace(record->id, record);
  persist(*record);
  leaves_.metrics->created(how == "warm" ? Metrics::Method::warm : Metrics::Method::cold);
  rest::JsonWriter data;
  data.begin_object().member("image", record->image).member("profile", record->profile).key("labels");
  if (record->labels.empty()) data.null();
  else {
    data.begin_object();
    for (const auto& [key, value] : record->labels) data.member(key, value);
    data.end_object();
  }
  data.member("method", how).end_object();
  publish("sandbox.created", *record, std::move(data).take());
  answer(exchange, 201, rest::write(record->info()));
}

void Core::list(http::Exchange& exchange, const Caller& caller) {
  std::vector<std::pair<std::string, std::string>> wanted;
  for (const std::string& label : exchange.request().query_values("label")) {
    if (const std::size_t colon = label.find(':'); colon != std::string::npos)
      wanted.emplace_back(label.substr(0, colon), label.substr(colon + 1));
  }
  std::vector<SandboxInfo> all;
  for (const auto& [id, record] : records_) {
    if (!caller.may_see(record->owner)) continue;
    const bool fits = std::all_of(wanted.begin(), wanted.end(), [&](const auto& label) {
      const auto found = record->labels.find(label.first);
      return found != record->labels.end() && found->second == label.second;
    });
    if (fits) all.push_back(record->info());
  }
  std::sort(all.begin(), all.end(), [](const SandboxInfo& a, const SandboxInfo& b) {
    return std::tie(a.created, a.id) < std::tie(b.created, b.id);
  });
  answer(exchange, 200, rest::write(all));
}

void Core::get(http::Exchange& exchange, const std::string& id, const Caller& caller) {
  if (const RecordPtr record = need(exchange, id, caller)) answer(exchange, 200, rest::write(record->info()));
}

// ---- ends ---------------------------------------------------------------------------------------------------------------

void Core::destroy_route(const ExchangePtr& exchange, const std::string& id, const Caller& caller) {
  const RecordPtr record = need(*exchange, id, caller);
  if (!record) return;
  destroy(record, [exchange](Result<void> outcome) {
    if (outcome) return exchange->respond(http::Response{204, {}, {}});
    outcome.ignore("logged");
    refuse(*exchange, 500, ErrorCode::internal, "sandbox destroy failed");
  });
}

void Core::detach_everything(const RecordPtr& record) {
  record->gone = true;
  records_.erase(record->id);
  reaper_.cancel(record->id);
  close_tunnels(*record);
  const auto sessions = std::exchange(record->sessions, {});
  for (const auto& [number, relay] : sessions) relay->close(http::close_code::kNormal, "session closed");
  record->v1.reset();
  const auto connections = std::exchange(record->connections, {});
  for (const auto& connection : connections) connection->close(http::close_code::kGoingAway, "sandbox destroyed");
}

void Core::destroy(const RecordPtr& record, std::function<void(Result<void>)> done) {
  if (record->gone) {
    if (done) done({});
    return;
  }
  detach_everything(record);
  leaves_.store->erase_sandbox(record->id);
  const bool posted = offload([box = record->box] { return box->close(); },
                              [this, record, done](Result<void> closed) {
                                if (!closed) leaves_.log->error("destroy failed", {{"sandbox", record->id}, {"error", closed.error().to_string()}});
                                record->place.reset();
                                record->box.reset();
                                leaves_.metrics->destroyed();
                                publish("sandbox.destroyed", *record, {});
                                drop_unused_content();
                                if (done) done(std::move(closed));
                              });
  if (!posted && done) done(Error(ErrorCode::unavailable, "shutting down"));
}

void Core::lost(const RecordPtr& record, const std::string& reason) {
  if (record->gone) return;
  leaves_.log->warning("sandbox lost", {{"sandbox", record->id}, {"reason", reason}});
  rest::JsonWriter data;
  data.begin_object().member("reason", reason).end_object();
  publish("sandbox.lost", *record, std::move(data).take());
  destroy(record);  // what it held is free already; this closes the books
}

// ---- a look from outside ---------------------------------------------------------------------------------------------

void Core::stats(const ExchangePtr& exchange, const std::string& id, const Caller& caller) {
  if (const RecordPtr record = need(*exchange, id, caller)) answer_stats(exchange, record, false);
}

void Core::answer_stats(const ExchangePtr& exchange, const RecordPtr& record, bool second_look) {
  const bool posted = offload([box = record->box] { return box->stats(); }, [this, exchange, record, second_look](Result<SandboxStats> stats) {
    if (!stats) {
      leaves_.log->warning("stats failed", {{"sandbox", record->id}, {"error", stats.error().to_string()}});
      return refuse(*exchange, 500, stats.error().code(), "failed to retrieve sandbox stats");
    }
    const core::TimePoint now = core::SteadyClock::now();
    const std::optional<CpuSample> before = record->cpu;
    if (!before || now - before->at < kYoungSample || now - before->at > kOldSample) {
      if (!second_look) {
        // A first look: another one in a moment tells what is being used now.
        if (!before || now - before->at > kOldSample) record->cpu = CpuSample{stats->cpu_time, now};
        auto timer = std::make_shared<boost::asio::steady_timer>(context(), kYoungSample + std::chrono::milliseconds(5));
        timer->async_wait([weak = weak_from_this(), timer, exchange, record](boost::system::error_code) {
          const auto self = weak.lock();
          if (self && record->box) return self->answer_stats(exchange, record, true);
          refuse(*exchange, 404, ErrorCode::not_found, "sandbox not found");
        });
        return;
      }
    }
    double percent = 0;
    if (before && now > before->at) {
      const std::chrono::duration<double> used = stats->cpu_time - before->used, passed = now - before->at;
      percent = std::max(0.0, 100.0 * used.count() / passed.count());
    }
    if (!before || now - before->at >= kYoungSample) record->cpu = CpuSample{stats->cpu_time, now};
    answer(*exchange, 200, rest::write(*stats, percent));
  });
  if (!posted) refuse(*exchange, 503, ErrorCode::unavailable, "shutting down", 2);
}

void Core::freeze(const ExchangePtr& exchange, const std::string& id, const Caller& caller, bool pause) {
  const RecordPtr record = need(*exchange, id, caller);
  if (!record) return;
  const bool posted = offload([box = record->box, pause] { return pause ? box->pause() : box->resume(); },
                              [this, exchange, record, pause](Result<void> outcome) {
                                if (!outcome) {
                                  const Error& error = outcome.error();
                                  leaves_.log->warning(pause ? "pause failed" : "resume failed", {{"sandbox", record->id}, {"error", error.to_string()}});
                                  return refuse(*exchange, static_cast<unsigned>(rest::status_of(error.code())), error.code(), error.message());
                                }
                                record->paused = pause;
                                if (!record->gone) persist(*record);
                                exchange->respond(http::Response{204, {}, {}});
                              });
  if (!posted) refuse(*exchange, 503, ErrorCode::unavailable, "shutting down", 2);
}

}  // namespace sandbox::server
