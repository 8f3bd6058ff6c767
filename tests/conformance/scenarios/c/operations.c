#define _POSIX_C_SOURCE 200809L
#include "operations.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

const char kSandbox[] = "sandbox", kProcess[] = "process", kWatch[] = "watch", kSocket[] = "socket";

void* object_of(call_t* call, const char* kind) {
  const saved_t* saved = scope_find(&call->teller->scope, call->on);
  if (saved != NULL && saved->kind == kind) return saved->object;
  surprise(call->teller, "%s is no %s", call->on, kind);
  return NULL;
}

sbx_view view_of(const json_t* text) {
  return text != NULL ? (sbx_view){json_string_value(text), json_string_length(text)} : (sbx_view){0, 0};
}

json_t* text_of(sbx_view view) { return json_stringn_nocheck(view.size > 0 ? view.data : "", view.size); }
json_t* number_of(uint64_t number) { return json_integer((json_int_t)number); }

bool good(call_t* call, sbx_code code, sbx_error** err) {
  static const char* const retries[] = {"never", "now", "after_backoff"};
  if (code == SBX_OK) return true;
  if (*err == NULL || sbx_error_code(*err) != code) {
    surprise(call->teller, "the code %s came without its error", sbx_code_name(code));
  } else {
    call->error = json_pack("{s:s, s:o, s:o, s:i, s:s}", "code", sbx_code_name(code), "message",
                            text_of(sbx_error_message(*err)), "operation", text_of(sbx_error_operation(*err)), "errno",
                            sbx_error_errno(*err), "retry", retries[sbx_error_retry(*err)]);
  }
  sbx_error_free(err);
  return false;
}

void fail_with(call_t* call, const char* code, const char* message) {
  call->error = json_pack("{s:s, s:s, s:s, s:i, s:s}", "code", code, "message", message, "operation", "", "errno", 0,
                          "retry", "never");
}

void done(call_t* call, sbx_code code, sbx_error** err) {
  if (good(call, code, err)) call->fields = json_object();
}

sbx_pair* pairs_of(json_t* object, size_t* size) {
  const char* name;
  json_t* value;
  *size = 0;
  sbx_pair* pairs = calloc(json_object_size(object) + 1, sizeof *pairs);
  if (pairs == NULL) abort();
  json_object_foreach(object, name, value) pairs[(*size)++] = (sbx_pair){{name, strlen(name)}, view_of(value)};
  return pairs;
}

int64_t clock_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t left_ms(int64_t deadline) {
  const int64_t left = deadline - clock_ms();
  return left > 0 ? left : 1;
}

static void keep_sandbox(call_t* call, sbx_code code, sbx_sandbox* sandbox, sbx_error** err) {
  if (!good(call, code, err)) return;
  call->fields = json_pack("{s:o}", "id", text_of(sbx_sandbox_id(sandbox)));
  call->kind = kSandbox;
  call->object = sandbox;
}

static void create(call_t* call) {
  const world_t* world = call->teller->world;
  sbx_spec spec = SBX_SPEC_INIT;
  sbx_create_options options = SBX_CREATE_OPTIONS_INIT;
  if (arg_has(call, "image")) spec.image = view_of(arg_text(call, "image"));
  spec.memory = (uint64_t)arg_number(call, "memory", 0);
  if (arg_has(call, "cpus")) spec.cpus = arg_real(call, "cpus");
  spec.pids = (uint32_t)arg_number(call, "pids", 0);
  spec.open_files = (uint32_t)arg_number(call, "open_files", 0);
  spec.disk = (uint64_t)arg_number(call, "disk", 0);
  spec.inodes = (uint64_t)arg_number(call, "inodes", 0);
  if (arg_has(call, "network")) {
    const sbx_view network = view_of(arg_text(call, "network"));
    spec.network = network.size == 6 && memcmp(network.data, "bridge", 6) == 0 ? SBX_NETWORK_BRIDGE : SBX_NETWORK_NONE;
  }
  sbx_pair* env = pairs_of(arg_object(call, "env"), &spec.env_size);
  spec.env = env;
  if (arg_has(call, "workdir")) spec.workdir = view_of(arg_text(call, "workdir"));
  if (arg_has(call, "hostname")) spec.hostname = view_of(arg_text(call, "hostname"));
  if (arg_has(call, "user")) spec.user = view_of(arg_text(call, "user"));
  spec.writable_root = arg_flag(call, "writable_root", false);
  spec.sealed = world->sealed;
  options.deadline_ms = arg_number(call, "deadline_ms", 0);
  options.cold = arg_flag(call, "cold", false);
  sbx_sandbox* sandbox = NULL;
  sbx_error* err = NULL;
  sbx_code code;
  if (world->runtime != NULL) {
    code = sbx_runtime_create(world->runtime, &spec, &options, &sandbox, &err);
  } else {
    sbx_create_request request = SBX_CREATE_REQUEST_INIT;
    request.spec = &spec;
    request.sealed = world->sealed;
    request.ttl_s = arg_number(call, "ttl_s", 0);
    code = sbx_client_create(world->client, &request, &options, &sandbox, &err);
  }
  keep_sandbox(call, code, sandbox, &err);
  free(env);
}

/* {"id","label","digest","size",…}: the fields of a template are what the library says in JSON. */
static void tell_json(call_t* call, sbx_code code, sbx_bytes* json, sbx_error** err) {
  if (!good(call, code, err)) return;
  const sbx_view text = sbx_bytes_view(json);
  json_error_t wrong;
  call->fields = json_loadb(text.data, text.size, 0, &wrong);
  if (call->fields == NULL) surprise(call->teller, "no JSON: %s", wrong.text);
  sbx_bytes_free(&json);
}

static void tell_port(json_t** at, const sbx_port* port) {
  *at = json_pack("{s:i, s:i, s:s}", "port", (int)port->port, "host_port", (int)port->host_port, "host_address",
                  port->host_address);
}

static bool perform_on_ports(call_t* call, const char* what) {
  sbx_sandbox* sandbox = object_of(call, kSandbox);
  const uint16_t port = (uint16_t)arg_number(call, "port", 0);
  sbx_error* err = NULL;
  if (strcmp(what, "connect") == 0) {
    int fd = -1;
    if (!good(call, sbx_net_connect(sandbox, port, arg_number(call, "timeout_ms", 0), &fd, &err), &err)) return true;
    int* kept = malloc(sizeof fd);
    if (kept == NULL) abort();
    *kept = fd;
    call->kind = kSocket;
    call->object = kept;
    call->fields = json_object();
  } else if (strcmp(what, "expose") == 0) {
    sbx_port exposed = SBX_PORT_INIT;
    const uint16_t host_port = (uint16_t)arg_number(call, "host_port", 0);
    if (good(call, sbx_net_expose(sandbox, port, host_port, arg_number(call, "timeout_ms", 0), &exposed, &err), &err))
      tell_port(&call->fields, &exposed);
  } else if (strcmp(what, "close") == 0) {
    done(call, sbx_net_close(sandbox, port, &err), &err);
  } else if (strcmp(what, "list") == 0) {
    sbx_port_list* list = NULL;
    if (!good(call, sbx_net_list(sandbox, &list, &err), &err)) return true;
    json_t* ports = json_array();
    for (size_t i = 0; i < sbx_port_list_size(list); ++i) {
      sbx_port one = SBX_PORT_INIT;
      json_t* fields = NULL;
      if (good(call, sbx_port_list_at(list, i, &one, &err), &err)) tell_port(&fields, &one);
      json_array_append_new(ports, fields);
    }
    call->fields = json_pack("{s:o}", "ports", ports);
    sbx_port_list_free(&list);
  } else {
    return false;
  }
  return true;
}

static bool perform_on_env(call_t* call, const char* what) {
  sbx_sandbox* sandbox = object_of(call, kSandbox);
  sbx_error* err = NULL;
  if (strcmp(what, "set") == 0) {
    const sbx_view name = view_of(arg_text(call, "name"));
    done(call, sbx_env_set(sandbox, name, view_of(arg_text(call, "value")), &err), &err);
  } else if (strcmp(what, "unset") == 0) {
    done(call, sbx_env_unset(sandbox, view_of(arg_text(call, "name")), &err), &err);
  } else if (strcmp(what, "get") == 0) {
    sbx_bytes* value = NULL;
    if (!good(call, sbx_env_get(sandbox, view_of(arg_text(call, "name")), &value, &err), &err)) return true;
    call->fields = json_pack("{s:o}", "value", value != NULL ? text_of(sbx_bytes_view(value)) : json_null());
    sbx_bytes_free(&value);
  } else if (strcmp(what, "all") == 0) {
    sbx_env_list* list = NULL;
    if (!good(call, sbx_env_all(sandbox, &list, &err), &err)) return true;
    json_t* all = json_array();
    for (size_t i = 0; i < sbx_env_list_size(list); ++i) {
      sbx_pair pair = {{0, 0}, {0, 0}};
      good(call, sbx_env_list_at(list, i, &pair, &err), &err);
      json_array_append_new(all, json_pack("{s:o, s:o}", "name", text_of(pair.name), "value", text_of(pair.value)));
    }
    call->fields = json_pack("{s:o}", "env", all);
    sbx_env_list_free(&list);
  } else {
    return false;
  }
  return true;
}

static void stats(call_t* call, sbx_sandbox* sandbox) {
  sbx_stats now = SBX_STATS_INIT;
  sbx_error* err = NULL;
  if (!good(call, sbx_sandbox_stats(sandbox, &now, &err), &err)) return;
  call->fields = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "cpu_time_ns", number_of(now.cpu_time_ns),
                           "memory", number_of(now.memory), "memory_peak", number_of(now.memory_peak), "memory_limit",
                           number_of(now.memory_limit), "pids", number_of(now.pids), "disk_used",
                           number_of(now.disk_used), "inodes_used", number_of(now.inodes_used), "oom_kills",
                           number_of(now.oom_kills), "uptime_ns", number_of(now.uptime_ns));
}

static bool perform_on_world(call_t* call) {
  const world_t* world = call->teller->world;
  const char* what = call->operation;
  sbx_error* err = NULL;
  sbx_bytes* json = NULL;
  if (strcmp(what, "create") == 0) {
    create(call);
  } else if (strcmp(what, "find_template") == 0) {
    const sbx_view id = view_of(arg_text(call, "id"));
    const sbx_code code = world->runtime != NULL ? sbx_runtime_find_template(world->runtime, id, &json, &err)
                                                 : sbx_client_find_template(world->client, id, &json, &err);
    tell_json(call, code, json, &err);
  } else if (strcmp(what, "remove_template") == 0) {
    const sbx_view id = view_of(arg_text(call, "id"));
    done(call,
         world->runtime != NULL ? sbx_runtime_remove_template(world->runtime, id, &err)
                                : sbx_client_remove_template(world->client, id, &err),
         &err);
  } else if (strcmp(what, "open") == 0) {
    sbx_open_options options = SBX_OPEN_OPTIONS_INIT;
    sbx_sandbox* sandbox = NULL;
    options.sealed = world->sealed;
    const sbx_code code = sbx_client_open(world->client, view_of(arg_text(call, "id")), &options, &sandbox, &err);
    keep_sandbox(call, code, sandbox, &err);
  } else if (strcmp(what, "remove") == 0) {
    done(call, sbx_client_remove(world->client, view_of(arg_text(call, "id")), &err), &err);
  } else {
    return false;
  }
  return true;
}

static bool perform_on_sandbox(call_t* call) {
  const char* what = call->operation;
  sbx_error* err = NULL;
  sbx_bytes* bytes = NULL;
  sbx_sandbox* sandbox = object_of(call, kSandbox);
  if (strcmp(what, "close") == 0)
    done(call, sbx_sandbox_close(sandbox, &err), &err);
  else if (strcmp(what, "pause") == 0)
    done(call, sbx_sandbox_pause(sandbox, &err), &err);
  else if (strcmp(what, "resume") == 0)
    done(call, sbx_sandbox_resume(sandbox, &err), &err);
  else if (strcmp(what, "detach") == 0)
    done(call, sbx_sandbox_detach(sandbox, &err), &err);
  else if (strcmp(what, "closed") == 0)
    call->fields = json_pack("{s:b}", "closed", sbx_sandbox_closed(sandbox));
  else if (strcmp(what, "stats") == 0)
    stats(call, sandbox);
  else if (strcmp(what, "ping") == 0) {
    uint64_t time = 0;
    if (good(call, sbx_sandbox_ping(sandbox, arg_number(call, "timeout_ms", 0), &time, &err), &err)) {
      call->fields = json_pack("{s:o}", "round_trip_ns", number_of(time));
    }
  } else if (strcmp(what, "save_template") == 0) {
    const sbx_code code = sbx_sandbox_save_template(sandbox, view_of(arg_text(call, "label")), &bytes, &err);
    tell_json(call, code, bytes, &err);
  } else if (strcmp(what, "fingerprint") == 0) {
    if (!good(call, sbx_sandbox_fingerprint(sandbox, 0, &bytes, &err), &err)) return true;
    call->fields = json_pack("{s:o}", "fingerprint", text_of(sbx_bytes_view(bytes)));
    sbx_bytes_free(&bytes);
  } else {
    return false;
  }
  return true;
}

void perform(call_t* call) {
  const char* what = call->operation;
  bool known;
  if (strncmp(what, "net.", 4) == 0)
    known = perform_on_ports(call, what + 4);
  else if (strncmp(what, "env.", 4) == 0)
    known = perform_on_env(call, what + 4);
  else
    known = perform_on_process(call) || perform_on_files(call) || perform_on_host(call) || perform_on_world(call) ||
            perform_on_sandbox(call);
  if (!known) surprise(call->teller, "unknown operation");
}

void end_object(const char* kind, void* object) {
  if (kind == kSandbox) {
    sbx_sandbox* sandbox = object;
    sbx_sandbox_free(&sandbox);
  } else if (kind == kProcess) {
    end_process(object);
  } else if (kind == kWatch) {
    sbx_watch* watch = object;
    sbx_watch_free(&watch);
  } else if (kind == kSocket) {
    close(*(int*)object);
    free(object);
  }
}
