#include <sandbox/key.hpp>
#include <sandbox/sandbox.hpp>

#include "arguments.hpp"
#include "driver/box.hpp"
#include "handles.hpp"
#include "json.hpp"
#include "rest/rest.hpp"
#include "values.hpp"
#include "workers.hpp"

using namespace sandbox;
using namespace sandbox::c;

sbx_sandbox::~sbx_sandbox() { sandbox->box()->handle_gone(); }
void sbx_sandbox::retire(std::unique_ptr<sbx_sandbox> handle) { destroy_later(std::move(handle)); }

namespace {

/// `action(Sandbox&) -> Result<T>` on the sandbox of `handle`.
template <class T, class Action>
Result<Work<T>> prepare(const sbx_sandbox* handle, Action action) {
  SANDBOX_TRY(auto box, object(handle));
  return Work<T>([box = std::move(box), action = std::move(action)] { return action(*box); });
}

Result<Work<Nothing>> prepare_close(sbx_sandbox* handle) {
  return prepare<Nothing>(handle, [](Sandbox& box) { return nothing(box.close()); });
}
Result<Work<Nothing>> prepare_detach(sbx_sandbox* handle) {
  return prepare<Nothing>(handle, [](Sandbox& box) { return nothing(box.detach()); });
}
Result<Work<Nothing>> prepare_pause(sbx_sandbox* handle) {
  return prepare<Nothing>(handle, [](Sandbox& box) { return nothing(box.pause()); });
}
Result<Work<Nothing>> prepare_resume(sbx_sandbox* handle) {
  return prepare<Nothing>(handle, [](Sandbox& box) { return nothing(box.resume()); });
}

Result<Work<uint64_t>> prepare_ping(sbx_sandbox* handle, int64_t timeout_ms) {
  SANDBOX_TRY(const auto timeout, time_of(timeout_ms, std::chrono::seconds(5)));
  return prepare<uint64_t>(handle, [timeout](Sandbox& box) -> Result<uint64_t> {
    SANDBOX_TRY(const auto time, box.ping(timeout));
    return static_cast<uint64_t>(time.count());
  });
}

Result<Work<SandboxStats>> prepare_stats(sbx_sandbox* handle) {
  return prepare<SandboxStats>(handle, [](Sandbox& box) { return box.stats(); });
}

Result<Work<BytesPtr>> prepare_save(sbx_sandbox* handle, sbx_view given) {
  SANDBOX_TRY(std::string label, text_of(given, "label"));
  return prepare<BytesPtr>(handle, [label = std::move(label)](Sandbox& box) -> Result<BytesPtr> {
    SANDBOX_TRY(const TemplateInfo saved, box.save_template(label));
    return own(write_json(saved));
  });
}

Result<Work<BytesPtr>> prepare_fingerprint(sbx_sandbox* handle, int64_t timeout_ms) {
  SANDBOX_TRY(const auto timeout, time_of(timeout_ms, std::chrono::seconds(5)));
  return prepare<BytesPtr>(handle, [timeout](Sandbox& box) -> Result<BytesPtr> {
    SANDBOX_TRY(const Fingerprint agent, box.agent_fingerprint(timeout));
    return own(agent.to_string());
  });
}

void fill_stats(sbx_stats* out, const SandboxStats& stats) {
  sbx_stats told SBX_STATS_INIT;
  told.cpu_time_ns = static_cast<uint64_t>(stats.cpu_time.count());
  told.memory = stats.memory.bytes();
  told.memory_peak = stats.memory_peak.bytes();
  told.memory_limit = stats.memory_limit.bytes();
  told.pids = stats.pids;
  told.network_rx_bytes = stats.network_rx_bytes;
  told.network_tx_bytes = stats.network_tx_bytes;
  told.disk_used = stats.disk_used.bytes();
  told.inodes_used = stats.inodes_used;
  told.oom_kills = stats.oom_kills;
  told.uptime_ns = static_cast<uint64_t>(stats.uptime.count());
  fill(out, told);
}

}  // namespace

sbx_code sbx_op_take_sandbox(sbx_op* op, sbx_sandbox** sandbox, sbx_error** err) { return take_handle(op, sandbox, err); }
sbx_view sbx_sandbox_id(const sbx_sandbox* sandbox) { return view_of(sandbox ? std::string_view(sandbox->sandbox->id()) : std::string_view()); }
int sbx_sandbox_closed(const sbx_sandbox* sandbox) { return sandbox && sandbox->sandbox->closed() ? 1 : 0; }
void sbx_sandbox_free(sbx_sandbox** sandbox) { free_handle(sandbox); }

sbx_code sbx_sandbox_spec(sbx_sandbox* sandbox, sbx_bytes** json, sbx_error** err) {
  return guard(err, json, [&]() -> Result<BytesPtr> {
    SANDBOX_TRY(const auto box, object(sandbox));
    return own(rest::write(box->spec()));
  });
}

sbx_code sbx_sandbox_unenforced(sbx_sandbox* sandbox, sbx_bytes** lines, sbx_error** err) {
  return guard(err, lines, [&]() -> Result<BytesPtr> {
    SANDBOX_TRY(const auto box, object(sandbox));
    std::string text;
    for (const std::string& line : box->unenforced()) text += line + "\n";
    return own(std::move(text));
  });
}

sbx_code sbx_sandbox_close(sbx_sandbox* sandbox, sbx_error** err) {
  return run_now(err, [&] { return prepare_close(sandbox); });
}
sbx_op* sbx_sandbox_close_start(sbx_sandbox* sandbox) {
  return start_work<Nothing>(Lane::quick, [&] { return prepare_close(sandbox); });
}
sbx_code sbx_sandbox_detach(sbx_sandbox* sandbox, sbx_error** err) {
  return run_now(err, [&] { return prepare_detach(sandbox); });
}
sbx_op* sbx_sandbox_detach_start(sbx_sandbox* sandbox) {
  return start_work<Nothing>(Lane::quick, [&] { return prepare_detach(sandbox); });
}
sbx_code sbx_sandbox_pause(sbx_sandbox* sandbox, sbx_error** err) {
  return run_now(err, [&] { return prepare_pause(sandbox); });
}
sbx_op* sbx_sandbox_pause_start(sbx_sandbox* sandbox) {
  return start_work<Nothing>(Lane::quick, [&] { return prepare_pause(sandbox); });
}
sbx_code sbx_sandbox_resume(sbx_sandbox* sandbox, sbx_error** err) {
  return run_now(err, [&] { return prepare_resume(sandbox); });
}
sbx_op* sbx_sandbox_resume_start(sbx_sandbox* sandbox) {
  return start_work<Nothing>(Lane::quick, [&] { return prepare_resume(sandbox); });
}

sbx_code sbx_sandbox_ping(sbx_sandbox* sandbox, int64_t timeout_ms, uint64_t* round_trip_ns, sbx_error** err) {
  return guard(err, round_trip_ns, uint64_t{0}, [&]() -> Result<uint64_t> {
    SANDBOX_TRY(const auto work, prepare_ping(sandbox, timeout_ms));
    return work();
  });
}
sbx_op* sbx_sandbox_ping_start(sbx_sandbox* sandbox, int64_t timeout_ms) {
  return start_work<uint64_t>(Lane::slow, [&] { return prepare_ping(sandbox, timeout_ms); });
}

sbx_code sbx_sandbox_stats(sbx_sandbox* sandbox, sbx_stats* stats, sbx_error** err) {
  return guard(err, [&]() -> Result<void> {
    SANDBOX_CHECK(check_out(stats, "stats"));
    SANDBOX_TRY(const auto work, prepare_stats(sandbox));
    SANDBOX_TRY(const SandboxStats told, work());
    return fill_stats(stats, told), Result<void>();
  });
}
sbx_op* sbx_sandbox_stats_start(sbx_sandbox* sandbox) {
  return start_work<SandboxStats>(Lane::quick, [&] { return prepare_stats(sandbox); });
}
sbx_code sbx_op_take_stats(sbx_op* op, sbx_stats* stats, sbx_error** err) {
  return take_struct<SandboxStats>(op, err, stats, "stats", fill_stats);
}

sbx_code sbx_sandbox_save_template(sbx_sandbox* sandbox, sbx_view label, sbx_bytes** json, sbx_error** err) {
  return run_now(err, json, [&] { return prepare_save(sandbox, label); });
}
sbx_op* sbx_sandbox_save_template_start(sbx_sandbox* sandbox, sbx_view label) {
  return start_work<BytesPtr>(Lane::slow, [&] { return prepare_save(sandbox, label); });
}
sbx_code sbx_sandbox_fingerprint(sbx_sandbox* sandbox, int64_t timeout_ms, sbx_bytes** text, sbx_error** err) {
  return run_now(err, text, [&] { return prepare_fingerprint(sandbox, timeout_ms); });
}
sbx_op* sbx_sandbox_fingerprint_start(sbx_sandbox* sandbox, int64_t timeout_ms) {
  return start_work<BytesPtr>(Lane::slow, [&] { return prepare_fingerprint(sandbox, timeout_ms); });
}
