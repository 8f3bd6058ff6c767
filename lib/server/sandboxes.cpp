#include <algorithm>
#include <cmath>
#include <utility>

#include "server/core.hpp"
#include "core/sync_point.hpp"

/// Routes of single sandboxes that exist: list, destroy, stats, pause.
namespace sandbox::server {
namespace {

/// The CPU share is worked out between two looks this far apart at least; an older first look than kOldSample says
/// nothing about now.
constexpr auto kYoungSample = std::chrono::milliseconds(100);
constexpr auto kOldSample = std::chrono::seconds(5);

}  // namespace

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
  SANDBOX_SYNC_POINT("server.before_destroy");
  detach_everything(record);
  leaves_.store->erase_sandbox(record->id);
  SANDBOX_SYNC_POINT("server.row_erased");
  const bool posted = offload([box = record->box] { return box->close(); },
                              [this, record, done](Result<void> closed) {
                                if (!closed) leaves_.log->error("destroy failed", {{"sandbox", record->id}, {"error", closed.error().to_string()}});
                                SANDBOX_SYNC_POINT("server.destroyed");
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
