#include <algorithm>
#include <utility>

#include "core/sync_point.hpp"
#include "server/birth.hpp"
#include "server/core.hpp"

/// How a sandbox comes to be: what was asked, a place for it, the sandbox.
namespace sandbox::server {
namespace {

constexpr std::size_t kMaxLabels = 64, kMaxLabelKey = 128, kMaxLabelValue = 256;
/// Requests that may wait for a place; each holds its connection and at most kMaxBody.
constexpr std::size_t kMaxWaiting = 1024;

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
    case ErrorCode::unavailable: return {503, "sandbox creation failed, try again"};  // a launcher or agent that was lost
    default: return {500, "sandbox creation failed"};
  }
}

}  // namespace

/// One that has its place.
struct Core::Creation : Core::Wish {
  StoredSandbox record;  ///< what there is to know before it has an id
  std::unique_ptr<Quota::Reservation> place;
};

void Core::create(const ExchangePtr& exchange, const Caller& caller) {
  // 60 is what the protocol prescribes (sandbox-protocol section 1.3), however soon the oldest hit is a minute ago.
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
  Wish wish{exchange, caller, *std::move(read)};
  exchange->on_cancelled([cancelled = wish.cancelled] { *cancelled = true; });
  // Behind those who came before: a place that is free now is theirs.
  if (!waiting_.empty() || !try_create(wish)) wait_for_place(std::move(wish));
}

bool Core::try_create(Wish& wish) {
  http::Exchange& exchange = *wish.exchange;
  if (const auto refusal = quota_.check_count(wish.caller.identity, wish.caller.max_concurrent)) {
    if (*refusal == Quota::Refusal::capacity) return false;
    refuse(exchange, 429, ErrorCode::resource_exhausted, "identity sandbox quota exceeded", 2);
    return true;
  }
  auto resolved = resolve(wish.body, wish.caller);
  if (!resolved) {
    const Refusal refusal = creation_refusal(resolved.error());
    refuse(exchange, refusal.status, resolved.error().code(), refusal.text);
    return true;
  }
  const Limits& limits = resolved->spec.limits();
  auto place = quota_.reserve(wish.caller.identity, limits.memory().bytes(), limits.cpus());
  if (!place) return false;

  auto kept = std::make_shared<Creation>(Creation{std::move(wish), {}, std::move(place)});
  StoredSandbox& record = kept->record;
  record.identity = kept->caller.identity;
  record.profile = std::move(resolved->profile);
  record.image = std::move(resolved->image);
  record.template_id = kept->body.template_id.value_or("");
  if (record.template_id.empty() && kept->body.spec && kept->body.spec->image().kind() == Image::Kind::template_id)
    record.template_id = kept->body.spec->image().reference();
  record.labels = std::move(kept->body.labels);
  record.ttl = std::chrono::seconds(kept->body.ttl);
  record.created = std::chrono::system_clock::now();
  // The launcher keeps it with the sandbox: the store hears of it too late for a daemon that is killed behind its answer.
  std::string note = encode_birth({settings_.node_id, record});
  // A ready member of a pool is taken without a wait; anything else happens on the runtime's own threads.
  const CreateOptions how = kept->body.cold ? CreateOptions().cold() : CreateOptions();
  const auto done = [weak = weak_from_this(), kept](Result<std::shared_ptr<driver::Box>> made) {
    if (const auto self = weak.lock()) return self->created(std::move(*kept), std::move(made));
    made.ignore("the service has ended");
  };
  runtime_->async_create(std::move(resolved->spec), how, done, std::move(note));
  return true;
}

void Core::wait_for_place(Wish wish) {
  if (settings_.create_wait <= core::Duration::zero() || waiting_.size() >= kMaxWaiting || !waiting_timer_)
    return refuse(*wish.exchange, 503, ErrorCode::resource_exhausted, "at capacity", 2);
  wish.until = core::SteadyClock::now() + settings_.create_wait;
  waiting_.push_back(std::move(wish));
  if (waiting_.size() == 1) end_waiting(core::SteadyClock::now());
}

void Core::serve_waiting() {
  serving_waiting_ = false;
  while (!waiting_.empty()) {
    // Nobody would ever learn its id.
    if (!*waiting_.front().cancelled && !try_create(waiting_.front())) return;
    waiting_.pop_front();
  }
}

void Core::end_waiting(core::TimePoint now) {
  // A reload may have changed the time: whoever came first gives up first all the same.
  while (!waiting_.empty() && waiting_.front().until <= now) {
    Wish wish = std::move(waiting_.front());
    waiting_.pop_front();
    if (stopping_) refuse(*wish.exchange, 503, ErrorCode::unavailable, "shutting down", 2);
    else refuse(*wish.exchange, 503, ErrorCode::resource_exhausted, "at capacity", 2);
  }
  if (waiting_.empty() || stopping_) return;
  waiting_timer_->expires_at(waiting_.front().until);
  waiting_timer_->async_wait([weak = weak_from_this()](boost::system::error_code error) {
    if (const auto self = weak.lock(); self && !error) self->end_waiting(core::SteadyClock::now());
  });
}

void Core::created(Creation creation, Result<std::shared_ptr<driver::Box>> made) {
  http::Exchange& exchange = *creation.exchange;
  if (!made) {
    const Refusal refusal = creation_refusal(made.error());
    leaves_.log->warning("creation failed", {{"error", made.error().to_string()}, {"identity", creation.caller.identity}});
    return refuse(exchange, refusal.status, made.error().code(), refusal.text, refusal.status == 503 ? 2 : 0);
  }
  SANDBOX_SYNC_POINT("server.created");
  const RecordPtr record = record_of(*std::move(made), std::move(creation.record));
  record->id = public_id(record->box->id(), settings_.node_id);
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
  SANDBOX_SYNC_POINT("server.before_record");
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
  SANDBOX_SYNC_POINT("server.recorded");
  answer(exchange, 201, rest::write(record->info()));
  SANDBOX_SYNC_POINT("server.create_answered");
}

}  // namespace sandbox::server
