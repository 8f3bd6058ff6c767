#include <sandbox/asio/client.hpp>
#include <sandbox/client.hpp>

#include "arguments.hpp"
#include "events.hpp"
#include "handles.hpp"
#include "rest/rest.hpp"
#include "values.hpp"
#include "workers.hpp"

using namespace sandbox;
using namespace sandbox::c;

namespace {

using ClientPtr = std::unique_ptr<sbx_client>;
using SandboxPtr = std::unique_ptr<sbx_sandbox>;
using EventsPtr = std::unique_ptr<sbx_events>;

Result<Work<ClientPtr>> prepare_connect(sbx_view given, const sbx_client_options* options) {
  SANDBOX_TRY(std::string endpoint, text_of(given, "endpoint"));
  SANDBOX_TRY(ClientOptions how, client_options_of(options));
  if (endpoint.empty()) endpoint = Client::default_endpoint();
  before_first_use();
  return Work<ClientPtr>([endpoint = std::move(endpoint), how = std::move(how)]() -> Result<ClientPtr> {
    SANDBOX_TRY(Client client, Client::connect(endpoint, how));
    return std::make_unique<sbx_client>(std::move(client));
  });
}

/// `action(Client&) -> Result<T>` on the client of `handle`.
template <class T, class Action>
Result<Work<T>> prepare(const sbx_client* handle, Action action) {
  SANDBOX_TRY(auto client, object(handle));
  return Work<T>([client = std::move(client), action = std::move(action)] { return action(*client); });
}

/// `ask(Client&) -> Result<value>`, as JSON.
template <class Ask>
Result<Work<BytesPtr>> prepare_json(const sbx_client* handle, Ask ask) {
  return prepare<BytesPtr>(handle, [ask = std::move(ask)](Client& client) -> Result<BytesPtr> {
    SANDBOX_TRY(const auto told, ask(client));
    return own(rest::write(told));
  });
}

/// The same for what has a name. `ask(Client&, name)`.
template <class Ask>
Result<Work<BytesPtr>> prepare_json(const sbx_client* handle, sbx_view given, Ask ask) {
  SANDBOX_TRY(std::string id, text_of(given, "id"));
  return prepare_json(handle, [id = std::move(id), ask](Client& client) { return ask(client, id); });
}

/// `tell(Client&, name) -> Result<void>`.
template <class Tell>
Result<Work<Nothing>> prepare_tell(const sbx_client* handle, sbx_view given, std::string_view argument, Tell tell) {
  SANDBOX_TRY(std::string name, text_of(given, argument));
  return prepare<Nothing>(handle, [name = std::move(name), tell](Client& client) { return nothing(tell(client, name)); });
}

Result<Work<SandboxPtr>> prepare_open(sbx_client* handle, sbx_view given, const sbx_open_options* options) {
  SANDBOX_TRY(std::string id, text_of(given, "id"));
  SANDBOX_TRY(OpenOptions how, open_options_of(options));
  return prepare<SandboxPtr>(handle, [id = std::move(id), how](Client& client) -> Result<SandboxPtr> {
    SANDBOX_TRY(Sandbox box, client.open(id, how));
    return std::make_unique<sbx_sandbox>(std::move(box));
  });
}

Result<Work<BytesPtr>> prepare_list(sbx_client* handle, const sbx_pair* given, size_t size) {
  SANDBOX_TRY(Labels labels, labels_of(given, size));
  return prepare_json(handle, [labels = std::move(labels)](Client& client) { return client.list(labels); });
}

Result<Work<Nothing>> prepare_wait_warm(sbx_client* handle, int64_t timeout_ms) {
  SANDBOX_TRY(const auto timeout, time_of(timeout_ms, std::chrono::seconds(30)));
  return prepare<Nothing>(handle, [timeout](Client& client) { return nothing(client.wait_warm(timeout)); });
}

Result<Work<BytesPtr>> prepare_metrics(sbx_client* handle) {
  return prepare<BytesPtr>(handle, [](Client& client) -> Result<BytesPtr> {
    SANDBOX_TRY(std::string text, client.metrics());
    return own(std::move(text));
  });
}

Result<Work<EventsPtr>> prepare_events(sbx_client* handle, int64_t after) {
  return prepare<EventsPtr>(handle, [after](Client& client) -> Result<EventsPtr> {
    std::optional<std::uint64_t> from;
    if (after >= 0) from = static_cast<std::uint64_t>(after);
    SANDBOX_TRY(EventStream stream, client.events(from));
    return std::make_unique<sbx_events>(std::move(stream));
  });
}

Result<Work<Nothing>> prepare_close(sbx_client* handle) {
  return prepare<Nothing>(handle, [](Client& client) { return nothing(client.close()); });
}
Result<Work<Nothing>> prepare_remove(sbx_client* handle, sbx_view id) {
  return prepare_tell(handle, id, "id", [](Client& client, const std::string& name) { return client.remove(name); });
}
Result<Work<BytesPtr>> prepare_find(sbx_client* handle, sbx_view id) {
  return prepare_json(handle, id, [](Client& client, const std::string& name) { return client.find(name); });
}
Result<Work<BytesPtr>> prepare_templates(sbx_client* handle) {
  return prepare_json(handle, [](Client& client) { return client.templates(); });
}
Result<Work<BytesPtr>> prepare_find_template(sbx_client* handle, sbx_view id) {
  return prepare_json(handle, id, [](Client& client, const std::string& name) { return client.find_template(name); });
}
Result<Work<Nothing>> prepare_remove_template(sbx_client* handle, sbx_view id) {
  return prepare_tell(handle, id, "id", [](Client& client, const std::string& name) { return client.remove_template(name); });
}
Result<Work<BytesPtr>> prepare_profiles(sbx_client* handle) {
  return prepare_json(handle, [](Client& client) { return client.profiles(); });
}
Result<Work<BytesPtr>> prepare_pools(sbx_client* handle) {
  return prepare_json(handle, [](Client& client) { return client.pools(); });
}
Result<Work<Nothing>> prepare_set_warm(sbx_client* handle, sbx_view profile, uint32_t count) {
  return prepare_tell(handle, profile, "profile", [count](Client& client, const std::string& name) { return client.set_warm(name, count); });
}
Result<Work<Nothing>> prepare_flush(sbx_client* handle, sbx_view profile) {
  return prepare_tell(handle, profile, "profile", [](Client& client, const std::string& name) { return client.flush(name); });
}
Result<Work<BytesPtr>> prepare_history(sbx_client* handle, uint64_t after, uint32_t limit) {
  return prepare_json(handle, [after, limit](Client& client) { return client.history(after, limit); });
}
Result<Work<BytesPtr>> prepare_health(sbx_client* handle) {
  return prepare_json(handle, [](Client& client) { return client.health(); });
}

}  // namespace

sbx_code sbx_client_connect(sbx_view endpoint, const sbx_client_options* options, sbx_client** client, sbx_error** err) {
  return run_now(err, client, [&] { return prepare_connect(endpoint, options); });
}
sbx_op* sbx_client_connect_start(sbx_view endpoint, const sbx_client_options* options) {
  return start_work<ClientPtr>(Lane::slow, [&] { return prepare_connect(endpoint, options); });
}
sbx_code sbx_op_take_client(sbx_op* op, sbx_client** client, sbx_error** err) { return take_handle(op, client, err); }
void sbx_client_free(sbx_client** client) { free_handle(client); }

sbx_code sbx_client_create(sbx_client* client, const sbx_create_request* request, const sbx_create_options* options, sbx_sandbox** sandbox,
                           sbx_error** err) {
  return guard(err, sandbox, [&]() -> Result<SandboxPtr> {
    SANDBOX_TRY(const auto daemon, object(client));
    SANDBOX_TRY(const CreateRequest wanted, create_request_of(request));
    SANDBOX_TRY(const CreateOptions how, create_options_of(options));
    SANDBOX_TRY(Sandbox box, daemon->create(wanted, how));
    return std::make_unique<sbx_sandbox>(std::move(box));
  });
}
sbx_op* sbx_client_create_start(sbx_client* client, const sbx_create_request* request, const sbx_create_options* options) {
  return start<SandboxPtr>([&](const OpPtr<SandboxPtr>& op) -> Result<void> {
    SANDBOX_TRY(const auto daemon, object(client));
    SANDBOX_TRY(CreateRequest wanted, create_request_of(request));
    SANDBOX_TRY(const CreateOptions how, create_options_of(options));
    daemon->async_create(std::move(wanted), how, OpToken{op, [](Sandbox box) { return std::make_unique<sbx_sandbox>(std::move(box)); }});
    return {};
  });
}

sbx_code sbx_client_open(sbx_client* client, sbx_view id, const sbx_open_options* options, sbx_sandbox** sandbox, sbx_error** err) {
  return run_now(err, sandbox, [&] { return prepare_open(client, id, options); });
}
sbx_op* sbx_client_open_start(sbx_client* client, sbx_view id, const sbx_open_options* options) {
  return start_work<SandboxPtr>(Lane::slow, [&] { return prepare_open(client, id, options); });
}

sbx_code sbx_client_list(sbx_client* client, const sbx_pair* labels, size_t labels_size, sbx_bytes** json, sbx_error** err) {
  return run_now(err, json, [&] { return prepare_list(client, labels, labels_size); });
}
sbx_op* sbx_client_list_start(sbx_client* client, const sbx_pair* labels, size_t labels_size) {
  return start_work<BytesPtr>(Lane::slow, [&] { return prepare_list(client, labels, labels_size); });
}
sbx_code sbx_client_wait_warm(sbx_client* client, int64_t timeout_ms, sbx_error** err) {
  return run_now(err, [&] { return prepare_wait_warm(client, timeout_ms); });
}
sbx_op* sbx_client_wait_warm_start(sbx_client* client, int64_t timeout_ms) {
  return start_work<Nothing>(Lane::slow, [&] { return prepare_wait_warm(client, timeout_ms); });
}
sbx_code sbx_client_set_warm(sbx_client* client, sbx_view profile, uint32_t count, sbx_error** err) {
  return run_now(err, [&] { return prepare_set_warm(client, profile, count); });
}
sbx_op* sbx_client_set_warm_start(sbx_client* client, sbx_view profile, uint32_t count) {
  return start_work<Nothing>(Lane::slow, [&] { return prepare_set_warm(client, profile, count); });
}
sbx_code sbx_client_history(sbx_client* client, uint64_t after, uint32_t limit, sbx_bytes** json, sbx_error** err) {
  return run_now(err, json, [&] { return prepare_history(client, after, limit); });
}
sbx_op* sbx_client_history_start(sbx_client* client, uint64_t after, uint32_t limit) {
  return start_work<BytesPtr>(Lane::slow, [&] { return prepare_history(client, after, limit); });
}
sbx_code sbx_client_events(sbx_client* client, int64_t after, sbx_events** events, sbx_error** err) {
  return run_now(err, events, [&] { return prepare_events(client, after); });
}
sbx_op* sbx_client_events_start(sbx_client* client, int64_t after) {
  return start_work<EventsPtr>(Lane::slow, [&] { return prepare_events(client, after); });
}

// The rest come in four shapes: with or without a name, with or without an answer.
#define SBX_CLIENT_TELL(lane, function, prepared)                                           \
  sbx_code function(sbx_client* client, sbx_error** err) {                                  \
    return run_now(err, [&] { return prepared(client); });                                  \
  }                                                                                         \
  sbx_op* function##_start(sbx_client* client) {                                            \
    return start_work<Nothing>(lane, [&] { return prepared(client); });                     \
  }
#define SBX_CLIENT_TELL_NAMED(function, prepared)                                           \
  sbx_code function(sbx_client* client, sbx_view name, sbx_error** err) {                   \
    return run_now(err, [&] { return prepared(client, name); });                            \
  }                                                                                         \
  sbx_op* function##_start(sbx_client* client, sbx_view name) {                             \
    return start_work<Nothing>(Lane::slow, [&] { return prepared(client, name); });         \
  }
#define SBX_CLIENT_ASK(function, prepared)                                                  \
  sbx_code function(sbx_client* client, sbx_bytes** answer, sbx_error** err) {              \
    return run_now(err, answer, [&] { return prepared(client); });                          \
  }                                                                                         \
  sbx_op* function##_start(sbx_client* client) {                                            \
    return start_work<BytesPtr>(Lane::slow, [&] { return prepared(client); });              \
  }
#define SBX_CLIENT_ASK_NAMED(function, prepared)                                            \
  sbx_code function(sbx_client* client, sbx_view id, sbx_bytes** answer, sbx_error** err) { \
    return run_now(err, answer, [&] { return prepared(client, id); });                      \
  }                                                                                         \
  sbx_op* function##_start(sbx_client* client, sbx_view id) {                               \
    return start_work<BytesPtr>(Lane::slow, [&] { return prepared(client, id); });          \
  }

SBX_CLIENT_TELL(Lane::quick, sbx_client_close, prepare_close)
SBX_CLIENT_TELL_NAMED(sbx_client_remove, prepare_remove)
SBX_CLIENT_TELL_NAMED(sbx_client_remove_template, prepare_remove_template)
SBX_CLIENT_TELL_NAMED(sbx_client_flush, prepare_flush)
SBX_CLIENT_ASK(sbx_client_templates, prepare_templates)
SBX_CLIENT_ASK(sbx_client_profiles, prepare_profiles)
SBX_CLIENT_ASK(sbx_client_pools, prepare_pools)
SBX_CLIENT_ASK(sbx_client_health, prepare_health)
SBX_CLIENT_ASK(sbx_client_metrics, prepare_metrics)
SBX_CLIENT_ASK_NAMED(sbx_client_find, prepare_find)
SBX_CLIENT_ASK_NAMED(sbx_client_find_template, prepare_find_template)
