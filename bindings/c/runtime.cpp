#include <atomic>
#include <deque>
#include <mutex>

#include <sandbox/runtime.hpp>

#include "arguments.hpp"
#include "events.hpp"
#include "handles.hpp"
#include "json.hpp"
#include "values.hpp"
#include "workers.hpp"

namespace sandbox::c {

/// What a runtime's handle and the work on it share.
struct OpenRuntime {
  OpenRuntime(Runtime made, std::shared_ptr<EventHub> observer) : runtime(std::move(made)), hub(std::move(observer)) {}
  ~OpenRuntime() { close().ignore("nobody is left to tell"); }

  static Result<std::unique_ptr<sbx_runtime>> open(RuntimeOptions options);
  Result<void> close() {
    closed.store(true, std::memory_order_release);
    hub->end(Error(ErrorCode::failed_precondition, "the runtime is closed"));
    return runtime.close();
  }
  Result<void> leave() {
    SANDBOX_CHECK(runtime.leave());
    closed.store(true, std::memory_order_release);
    hub->end(Error(ErrorCode::failed_precondition, "the runtime is closed"));
    return {};
  }
  std::optional<Sandbox> next_adopted() {
    std::lock_guard lock(mutex);
    for (Sandbox& box : runtime.adopted().sandboxes) adopted.push_back(std::move(box));  // all of them, the first time
    if (adopted.empty()) return std::nullopt;
    Sandbox box = std::move(adopted.front());
    adopted.pop_front();
    return box;
  }

  Runtime runtime;
  const std::shared_ptr<EventHub> hub;
  std::atomic<bool> closed{false};
  std::mutex mutex;
  std::deque<Sandbox> adopted;  ///< not asked for yet
};

}  // namespace sandbox::c

struct sbx_runtime {
  explicit sbx_runtime(std::shared_ptr<sandbox::c::OpenRuntime> opened) : state(std::move(opened)) {}
  ~sbx_runtime() { state->close().ignore("nobody is left to tell"); }
  static void retire(std::unique_ptr<sbx_runtime> handle) { sandbox::c::destroy_later(std::move(handle)); }
  const std::shared_ptr<sandbox::c::OpenRuntime> state;
};

using namespace sandbox;
using namespace sandbox::c;

namespace {

using RuntimePtr = std::shared_ptr<OpenRuntime>;

/// Of a handle that was not closed.
Result<RuntimePtr> opened(const sbx_runtime* handle) {
  if (!handle) return null_argument("runtime");
  if (handle->state->closed.load(std::memory_order_acquire)) return Error(ErrorCode::failed_precondition, "the runtime is closed");
  return handle->state;
}

Result<Work<std::unique_ptr<sbx_runtime>>> prepare_open(const sbx_runtime_options* given) {
  SANDBOX_TRY(RuntimeOptions options, runtime_options_of(given));
  before_first_use();
  return Work<std::unique_ptr<sbx_runtime>>([options = std::move(options)] { return OpenRuntime::open(options); });
}

/// `action(OpenRuntime&) -> Result<T>` on the runtime of `handle`.
template <class T, class Action>
Result<Work<T>> prepare(const sbx_runtime* handle, Action action) {
  SANDBOX_TRY(RuntimePtr runtime, opened(handle));
  return Work<T>([runtime = std::move(runtime), action = std::move(action)] { return action(*runtime); });
}

Result<Work<Nothing>> prepare_close(sbx_runtime* handle) {
  if (!handle) return null_argument("runtime");
  return Work<Nothing>([runtime = handle->state] { return nothing(runtime->close()); });  // idempotent
}

Result<Work<Nothing>> prepare_leave(sbx_runtime* handle) {
  return prepare<Nothing>(handle, [](OpenRuntime& open) { return nothing(open.leave()); });
}

Result<Work<Nothing>> prepare_wait_warm(sbx_runtime* handle, int64_t timeout_ms) {
  SANDBOX_TRY(const auto timeout, time_of(timeout_ms, std::chrono::seconds(30)));
  return prepare<Nothing>(handle, [timeout](OpenRuntime& open) { return nothing(open.runtime.wait_warm(timeout)); });
}

Result<Work<Nothing>> prepare_set_warm(sbx_runtime* handle, const sbx_spec* given, uint32_t count) {
  SANDBOX_TRY(SandboxSpec spec, spec_of(given));
  return prepare<Nothing>(handle, [spec = std::move(spec), count](OpenRuntime& open) { return nothing(open.runtime.set_warm(spec, count)); });
}

Result<Work<BytesPtr>> prepare_templates(sbx_runtime* handle) {
  return prepare<BytesPtr>(handle, [](OpenRuntime& open) -> Result<BytesPtr> {
    SANDBOX_TRY(const auto list, open.runtime.templates());
    return own(write_json(list));
  });
}

Result<Work<BytesPtr>> prepare_find_template(sbx_runtime* handle, sbx_view given) {
  SANDBOX_TRY(std::string id, text_of(given, "id"));
  return prepare<BytesPtr>(handle, [id = std::move(id)](OpenRuntime& open) -> Result<BytesPtr> {
    SANDBOX_TRY(const auto found, open.runtime.find_template(id));
    return own(write_json(found));
  });
}

Result<Work<BytesPtr>> prepare_prune(sbx_runtime* handle, const sbx_prune_options* given) {
  SANDBOX_TRY(const PruneOptions options, prune_options_of(given));
  return prepare<BytesPtr>(handle, [options](OpenRuntime& open) -> Result<BytesPtr> {
    SANDBOX_TRY(const auto layers, open.runtime.prune(options));
    return own(write_json(layers));
  });
}

Result<Work<Nothing>> prepare_remove_template(sbx_runtime* handle, sbx_view given) {
  SANDBOX_TRY(std::string id, text_of(given, "id"));
  return prepare<Nothing>(handle, [id = std::move(id)](OpenRuntime& open) { return nothing(open.runtime.remove_template(id)); });
}

}  // namespace

Result<std::unique_ptr<sbx_runtime>> OpenRuntime::open(RuntimeOptions options) {
  auto hub = std::make_shared<EventHub>();
  options.on_event([hub](const RuntimeEvent& event) { hub->publish(event); });
  SANDBOX_TRY(Runtime runtime, Runtime::open(std::move(options)));
  return std::make_unique<sbx_runtime>(std::make_shared<OpenRuntime>(std::move(runtime), std::move(hub)));
}

sbx_code sbx_runtime_open(const sbx_runtime_options* options, sbx_runtime** runtime, sbx_error** err) {
  return run_now(err, runtime, [&] { return prepare_open(options); });
}
sbx_op* sbx_runtime_open_start(const sbx_runtime_options* options) {
  return start_work<std::unique_ptr<sbx_runtime>>(Lane::slow, [&] { return prepare_open(options); });
}
sbx_code sbx_op_take_runtime(sbx_op* op, sbx_runtime** runtime, sbx_error** err) { return take_handle(op, runtime, err); }

sbx_code sbx_runtime_close(sbx_runtime* runtime, sbx_error** err) {
  return run_now(err, [&] { return prepare_close(runtime); });
}
sbx_op* sbx_runtime_close_start(sbx_runtime* runtime) {
  return start_work<Nothing>(Lane::quick, [&] { return prepare_close(runtime); });
}
void sbx_runtime_free(sbx_runtime** runtime) { free_handle(runtime); }

sbx_code sbx_runtime_create(sbx_runtime* runtime, const sbx_spec* spec, const sbx_create_options* options, sbx_sandbox** sandbox,
                            sbx_error** err) {
  return guard(err, sandbox, [&]() -> Result<std::unique_ptr<sbx_sandbox>> {
    SANDBOX_TRY(const RuntimePtr open, opened(runtime));
    SANDBOX_TRY(const SandboxSpec wanted, spec_of(spec));
    SANDBOX_TRY(const CreateOptions how, create_options_of(options));
    SANDBOX_TRY(Sandbox box, open->runtime.create(wanted, how));
    return std::make_unique<sbx_sandbox>(std::move(box));
  });
}
sbx_op* sbx_runtime_create_start(sbx_runtime* runtime, const sbx_spec* spec, const sbx_create_options* options) {
  using Made = std::unique_ptr<sbx_sandbox>;
  return start<Made>([&](const OpPtr<Made>& op) -> Result<void> {
    SANDBOX_TRY(const RuntimePtr open, opened(runtime));
    SANDBOX_TRY(SandboxSpec wanted, spec_of(spec));
    SANDBOX_TRY(const CreateOptions how, create_options_of(options));
    open->runtime.async_create(std::move(wanted), how, OpToken{op, [](Sandbox box) { return std::make_unique<sbx_sandbox>(std::move(box)); }});
    return {};
  });
}

sbx_code sbx_runtime_wait_warm(sbx_runtime* runtime, int64_t timeout_ms, sbx_error** err) {
  return run_now(err, [&] { return prepare_wait_warm(runtime, timeout_ms); });
}
sbx_op* sbx_runtime_wait_warm_start(sbx_runtime* runtime, int64_t timeout_ms) {
  return start_work<Nothing>(Lane::slow, [&] { return prepare_wait_warm(runtime, timeout_ms); });
}
sbx_code sbx_runtime_set_warm(sbx_runtime* runtime, const sbx_spec* spec, uint32_t count, sbx_error** err) {
  return run_now(err, [&] { return prepare_set_warm(runtime, spec, count); });
}
sbx_op* sbx_runtime_set_warm_start(sbx_runtime* runtime, const sbx_spec* spec, uint32_t count) {
  return start_work<Nothing>(Lane::slow, [&] { return prepare_set_warm(runtime, spec, count); });
}

sbx_code sbx_runtime_live(sbx_runtime* runtime, uint64_t* count, sbx_error** err) {
  return guard(err, count, uint64_t{0}, [&]() -> Result<uint64_t> {
    SANDBOX_TRY(const RuntimePtr open, opened(runtime));
    return uint64_t{open->runtime.live()};
  });
}

sbx_code sbx_runtime_pools(sbx_runtime* runtime, sbx_bytes** json, sbx_error** err) {
  return guard(err, json, [&]() -> Result<BytesPtr> {
    SANDBOX_TRY(const RuntimePtr open, opened(runtime));
    return own(write_json(open->runtime.pools()));
  });
}

sbx_code sbx_runtime_templates(sbx_runtime* runtime, sbx_bytes** json, sbx_error** err) {
  return run_now(err, json, [&] { return prepare_templates(runtime); });
}
sbx_op* sbx_runtime_templates_start(sbx_runtime* runtime) {
  return start_work<BytesPtr>(Lane::slow, [&] { return prepare_templates(runtime); });
}
sbx_code sbx_runtime_find_template(sbx_runtime* runtime, sbx_view id, sbx_bytes** json, sbx_error** err) {
  return run_now(err, json, [&] { return prepare_find_template(runtime, id); });
}
sbx_op* sbx_runtime_find_template_start(sbx_runtime* runtime, sbx_view id) {
  return start_work<BytesPtr>(Lane::slow, [&] { return prepare_find_template(runtime, id); });
}
sbx_code sbx_runtime_remove_template(sbx_runtime* runtime, sbx_view id, sbx_error** err) {
  return run_now(err, [&] { return prepare_remove_template(runtime, id); });
}
sbx_op* sbx_runtime_remove_template_start(sbx_runtime* runtime, sbx_view id) {
  return start_work<Nothing>(Lane::slow, [&] { return prepare_remove_template(runtime, id); });
}

sbx_code sbx_runtime_prune(sbx_runtime* runtime, const sbx_prune_options* options, sbx_bytes** json, sbx_error** err) {
  return run_now(err, json, [&] { return prepare_prune(runtime, options); });
}
sbx_op* sbx_runtime_prune_start(sbx_runtime* runtime, const sbx_prune_options* options) {
  return start_work<BytesPtr>(Lane::slow, [&] { return prepare_prune(runtime, options); });
}

sbx_code sbx_runtime_host(sbx_runtime* runtime, sbx_bytes** json, sbx_error** err) {
  return guard(err, json, [&]() -> Result<BytesPtr> {
    SANDBOX_TRY(const RuntimePtr open, opened(runtime));
    SANDBOX_TRY(const HostReport report, open->runtime.host());
    return own(write_json(report));
  });
}

sbx_code sbx_runtime_next_adopted(sbx_runtime* runtime, sbx_sandbox** sandbox, sbx_error** err) {
  return guard(err, sandbox, [&]() -> Result<std::unique_ptr<sbx_sandbox>> {
    SANDBOX_TRY(const RuntimePtr open, opened(runtime));
    auto box = open->next_adopted();
    if (!box) return std::unique_ptr<sbx_sandbox>();
    return std::make_unique<sbx_sandbox>(*std::move(box));
  });
}

sbx_code sbx_runtime_leave(sbx_runtime* runtime, sbx_error** err) {
  return run_now(err, [&] { return prepare_leave(runtime); });
}
sbx_op* sbx_runtime_leave_start(sbx_runtime* runtime) {
  return start_work<Nothing>(Lane::quick, [&] { return prepare_leave(runtime); });
}

sbx_code sbx_runtime_events(sbx_runtime* runtime, sbx_events** events, sbx_error** err) {
  return guard(err, events, [&]() -> Result<std::unique_ptr<sbx_events>> {
    SANDBOX_TRY(const RuntimePtr open, opened(runtime));
    return std::make_unique<sbx_events>(open->hub->subscribe());
  });
}
