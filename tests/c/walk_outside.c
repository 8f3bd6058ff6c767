/* What touches a sandbox from outside, and what it is of: a runtime or a daemon. */
#include "walk.h"

/* The text of `"key":"…"` in a JSON text of ours, which has no escapes there. */
static void string_of(sbx_bytes *json, const char *key, char *out, size_t size) {
  char quoted[64];
  snprintf(quoted, sizeof quoted, "\"%s\":\"", key);
  const char *begin = strstr(sbx_bytes_view(json).data, quoted);
  CHECK(begin != NULL);
  begin += strlen(quoted);
  const char *end = strchr(begin, '"');
  CHECK(end != NULL && (size_t)(end - begin) < size);
  memcpy(out, begin, (size_t)(end - begin));
  out[end - begin] = '\0';
}

static void take_nothing(sbx_op *op) {
  finish(op);
  OK(sbx_op_take(op, &err));
  sbx_op_free(&op);
}

static void take_json(sbx_op *op, const char *part) {
  finish(op);
  sbx_bytes *json = NULL;
  OK(sbx_op_take_bytes(op, &json, &err));
  CHECK(view_has(sbx_bytes_view(json), part));
  sbx_bytes_free(&json);
  sbx_op_free(&op);
}

#define HAS(call, part)                                   \
  do {                                                    \
    sbx_bytes *json = NULL;                               \
    OK(call);                                             \
    CHECK(view_has(sbx_bytes_view(json), (part)));        \
    sbx_bytes_free(&json);                                \
  } while (0)

/* Takes events until none comes for a while. */
static void drain(sbx_events *events) {
  sbx_code code = SBX_OK;
  while (code == SBX_OK) {
    sbx_bytes *json = NULL;
    code = sbx_events_next(events, 200, &json, NULL);
    sbx_bytes_free(&json);
  }
  CHECK(code == SBX_DEADLINE_EXCEEDED);
}

/* The next event of this type about this sandbox. */
static sbx_bytes *await_event(sbx_events *events, const char *type, const char *id) {
  for (;;) {
    sbx_bytes *json = NULL;
    OK(sbx_events_next(events, 10000, &json, &err));
    if (view_has(sbx_bytes_view(json), type) && view_has(sbx_bytes_view(json), id)) return json;
    sbx_bytes_free(&json);
  }
}

void walk_sandbox(world *here) {
  sbx_op *op = world_create_start(here);
  finish(op);
  sbx_sandbox *box = NULL;
  OK(sbx_op_take_sandbox(op, &box, &err));
  sbx_op_free(&op);
  CHECK(strncmp(sbx_sandbox_id(box).data, "sbx-", 4) == 0 && !sbx_sandbox_closed(box));
  HAS(sbx_sandbox_spec(box, &json, &err), "\"image\":\"host\"");

  uint64_t time = 0;
  OK(sbx_sandbox_ping(box, 0, &time, &err));
  CHECK(time > 0);
  op = sbx_sandbox_ping_start(box, 5000);
  finish(op);
  OK(sbx_op_take_count(op, &time, &err));
  CHECK(time > 0);
  sbx_op_free(&op);

  sbx_stats stats = SBX_STATS_INIT;
  OK(sbx_sandbox_stats(box, &stats, &err));
  CHECK(stats.memory > 0 && stats.memory_limit >= stats.memory && stats.pids >= 1 && stats.uptime_ns > 0);
  op = sbx_sandbox_stats_start(box);
  finish(op);
  OK(sbx_op_take_stats(op, &stats, &err));
  CHECK(stats.pids >= 1);
  sbx_op_free(&op);

  OK(sbx_sandbox_pause(box, &err));
  sbx_command command = shell("true");
  sbx_exec_result *result = NULL;
  EXPECT(SBX_FAILED_PRECONDITION, sbx_exec(box, &command, &result, &err));
  OK(sbx_sandbox_resume(box, &err));
  take_nothing(sbx_sandbox_pause_start(box));
  take_nothing(sbx_sandbox_resume_start(box));
  OK(sbx_exec(box, &command, &result, &err));
  sbx_exec_result_free(&result);

  sbx_bytes *json = NULL;
  EXPECT(SBX_FAILED_PRECONDITION, sbx_sandbox_fingerprint(box, 0, &json, &err)); /* not sealed */
  op = sbx_sandbox_fingerprint_start(box, 0);
  finish(op);
  EXPECT(SBX_FAILED_PRECONDITION, sbx_op_take_bytes(op, &json, &err));
  sbx_op_free(&op);
  OK(sbx_sandbox_unenforced(box, &json, &err));
  CHECK(view_is(sbx_bytes_view(json), ""));
  sbx_bytes_free(&json);

  OK(sbx_sandbox_close(box, &err));
  OK(sbx_sandbox_close(box, &err));
  CHECK(sbx_sandbox_closed(box));
  EXPECT(SBX_FAILED_PRECONDITION, sbx_exec(box, &command, &result, &err));
  op = sbx_exec_start(box, &command);
  finish(op);
  EXPECT(SBX_FAILED_PRECONDITION, sbx_op_take_exec(op, &result, &err));
  sbx_op_free(&op);
  CHECK(strncmp(sbx_sandbox_id(box).data, "sbx-", 4) == 0);
  sbx_sandbox_free(&box);

  box = world_create(here);
  take_nothing(sbx_sandbox_close_start(box));
  CHECK(sbx_sandbox_closed(box));
  sbx_sandbox_free(&box);
}

void walk_runtime(world *here) {
  sbx_runtime *runtime = here->runtime;
  sbx_events *events = NULL;
  OK(sbx_runtime_events(runtime, &events, &err));
  sbx_bytes *json = NULL;
  drain(events); /* the end of an earlier sandbox may still be told */

  /* A spec with everything that this host can surely do. */
  const sbx_pair env[] = {{SBX_STR("FROM"), SBX_STR("spec")}};
  sbx_spec spec = SBX_SPEC_INIT;
  spec.image = SBX_STR("host");
  spec.memory = 128 << 20;
  spec.cpus = 0.5;
  spec.pids = 64;
  spec.open_files = 128;
  spec.disk = 32 << 20;
  spec.inodes = 1000;
  spec.env = env;
  spec.env_size = 1;
  spec.workdir = SBX_STR("/tmp");
  spec.hostname = SBX_STR("walker");
  spec.writable_root = 1;
  spec.user = SBX_STR("someone");
  spec.sealed = 1;
  sbx_create_options how = SBX_CREATE_OPTIONS_INIT;
  how.cold = 1;
  how.deadline_ms = 20000;
  sbx_sandbox *box = NULL;
  OK(sbx_runtime_create(runtime, &spec, &how, &box, &err));
  HAS(sbx_sandbox_spec(box, &json, &err), "\"hostname\":\"walker\"");
  HAS(sbx_sandbox_fingerprint(box, 0, &json, &err), "sha256:");
  take_json(sbx_sandbox_fingerprint_start(box, 0), "sha256:");
  sbx_command command = shell("hostname; pwd; echo $FROM; touch /here");
  sbx_exec_result *result = NULL;
  OK(sbx_exec(box, &command, &result, &err));
  CHECK(view_is(sbx_exec_result_stdout(result), "walker\n/tmp\nspec\n"));
  sbx_exec_result_free(&result);

  json = await_event(events, "sandbox.created", sbx_sandbox_id(box).data);
  CHECK(view_has(sbx_bytes_view(json), "{\"start\":\"cold\"}") && view_has(sbx_bytes_view(json), "\"timestamp\":\"20"));
  sbx_bytes_free(&json);
  uint64_t live = 0;
  OK(sbx_runtime_live(runtime, &live, &err));
  CHECK(live == 1);
  EXPECT(SBX_UNSUPPORTED, sbx_sandbox_detach(box, &err)); /* it ends with its handle */
  sbx_op *op = sbx_sandbox_detach_start(box);
  finish(op);
  EXPECT(SBX_UNSUPPORTED, sbx_op_take(op, &err));
  sbx_op_free(&op);

  OK(sbx_sandbox_save_template(box, SBX_STR("mine"), &json, &err));
  char id[64];
  string_of(json, "id", id, sizeof id);
  CHECK(strncmp(id, "tpl-", 4) == 0);
  sbx_bytes_free(&json);
  take_json(sbx_sandbox_save_template_start(box, SBX_STR("mine")), id);
  HAS(sbx_runtime_templates(runtime, &json, &err), id);
  take_json(sbx_runtime_templates_start(runtime), id);
  HAS(sbx_runtime_find_template(runtime, text(id), &json, &err), "\"label\":\"mine\"");
  take_json(sbx_runtime_find_template_start(runtime, text(id)), "\"label\":\"mine\"");
  sbx_spec again = SBX_SPEC_INIT;
  again.image = text(id);
  again.writable_root = 1;
  op = sbx_runtime_create_start(runtime, &again, &how);
  finish(op);
  sbx_sandbox *copy = NULL;
  OK(sbx_op_take_sandbox(op, &copy, &err));
  sbx_op_free(&op);
  sbx_file_list *files = NULL;
  OK(sbx_fs_stat(copy, SBX_STR("/here"), 1, &files, &err));
  sbx_file_list_free(&files);
  sbx_sandbox_free(&copy);
  sbx_sandbox_free(&box);
  take_nothing(sbx_runtime_remove_template_start(runtime, text(id)));
  EXPECT(SBX_NOT_FOUND, sbx_runtime_remove_template(runtime, text(id), &err));
  EXPECT(SBX_NOT_FOUND, sbx_runtime_find_template(runtime, text(id), &json, &err));

  OK(sbx_runtime_set_warm(runtime, NULL, 1, &err));
  OK(sbx_runtime_wait_warm(runtime, 0, &err));
  HAS(sbx_runtime_pools(runtime, &json, &err), "\"profile\":\"host");
  take_nothing(sbx_runtime_set_warm_start(runtime, NULL, 0));
  take_nothing(sbx_runtime_wait_warm_start(runtime, 20000));
  /* Nothing here is so old; see walk_prune. */
  HAS(sbx_runtime_prune(runtime, NULL, &json, &err), "[]");
  take_json(sbx_runtime_prune_start(runtime, NULL), "[]");
  sbx_prune_options which = SBX_PRUNE_OPTIONS_INIT;
  which.unused_for_ms = -1;
  which.dry_run = 1;
  HAS(sbx_runtime_prune(runtime, &which, &json, &err), "[");
  which.struct_size = 4;
  EXPECT(SBX_INVALID_ARGUMENT, sbx_runtime_prune(runtime, &which, &json, &err));
  HAS(sbx_runtime_host(runtime, &json, &err), "\"backend\":\"native\"");
  OK(sbx_runtime_next_adopted(runtime, &box, &err));
  CHECK(box == NULL);
  EXPECT(SBX_FAILED_PRECONDITION, sbx_runtime_leave(runtime, &err)); /* not persistent */
  op = sbx_runtime_leave_start(runtime);
  finish(op);
  EXPECT(SBX_FAILED_PRECONDITION, sbx_op_take(op, &err));
  sbx_op_free(&op);

  CHECK(!sbx_events_gap(events));
  sbx_events_cancel(events);
  sbx_code code;
  do { /* what had come already is still told */
    sbx_error *err = NULL;
    code = sbx_events_next(events, 0, &json, &err);
    sbx_bytes_free(&json);
    sbx_error_free(&err);
  } while (code == SBX_OK);
  CHECK(code == SBX_CANCELLED);
  sbx_events_free(&events);

  /* Another one, opened and closed as ops, whose last event op sees it close. */
  char state[256];
  make_state(state, sizeof state);
  sbx_warm warm = {1, NULL};
  sbx_runtime_options options = SBX_RUNTIME_OPTIONS_INIT;
  options.state_directory = text(state);
  options.warm = &warm;
  options.warm_size = 1;
  options.max_warm = 2;
  options.max_sandboxes = 10;
  options.launchers = 1;
  sbx_runtime *other = NULL;
  options.require_proof = SBX_STR("/no/such/proof");
  EXPECT(SBX_FAILED_PRECONDITION, sbx_runtime_open(&options, &other, &err));
  CHECK(other == NULL);
  options.require_proof = (sbx_view){NULL, 0};
  op = sbx_runtime_open_start(&options);
  finish(op);
  OK(sbx_op_take_runtime(op, &other, &err));
  sbx_op_free(&op);
  OK(sbx_runtime_wait_warm(other, 0, &err));
  OK(sbx_runtime_create(other, NULL, NULL, &box, &err));
  OK(sbx_runtime_events(other, &events, &err));
  take_nothing(sbx_runtime_close_start(other));
  for (code = SBX_OK; code == SBX_OK;) {
    op = sbx_events_next_start(events);
    finish(op);
    code = sbx_op_take_bytes(op, &json, NULL);
    sbx_bytes_free(&json);
    sbx_op_free(&op);
  }
  CHECK(code == SBX_FAILED_PRECONDITION);
  sbx_events_free(&events);
  CHECK(sbx_sandbox_closed(box));
  EXPECT(SBX_FAILED_PRECONDITION, sbx_exec(box, &command, &result, &err));
  OK(sbx_runtime_close(other, &err));
  EXPECT(SBX_FAILED_PRECONDITION, sbx_runtime_create(other, NULL, NULL, &copy, &err));
  CHECK(copy == NULL);
  sbx_runtime_free(&other);
  sbx_sandbox_free(&box); /* after its runtime */
  remove_state(state);
}

/* The layer of an archive, which the next runtime finds unused. */
void walk_prune(void) {
  char state[256], archive[300], line[1024];
  make_state(state, sizeof state);
  snprintf(archive, sizeof archive, "%s/usr.tar", state);
  snprintf(line, sizeof line, "mkdir -p %s/image/usr && tar -C %s/image -cf %s usr", state, state, archive);
  CHECK(system(line) == 0);
  sbx_runtime_options options = SBX_RUNTIME_OPTIONS_INIT;
  options.state_directory = text(state);
  options.launchers = 1;
  options.prune_after_ms = -1;
  sbx_spec spec = SBX_SPEC_INIT;
  spec.image = text(archive);
  sbx_prune_options all = SBX_PRUNE_OPTIONS_INIT, look = SBX_PRUNE_OPTIONS_INIT;
  all.unused_for_ms = look.unused_for_ms = -1;
  look.dry_run = 1;
  sbx_runtime *runtime = NULL;
  sbx_sandbox *box = NULL;
  OK(sbx_runtime_open(&options, &runtime, &err));
  OK(sbx_runtime_create(runtime, &spec, NULL, &box, &err));
  HAS(sbx_runtime_prune(runtime, &all, &json, &err), "[]"); /* it is in use */
  sbx_sandbox_free(&box);
  sbx_runtime_free(&runtime);
  OK(sbx_runtime_open(&options, &runtime, &err));
  HAS(sbx_runtime_prune(runtime, NULL, &json, &err), "[]"); /* it is young */
  HAS(sbx_runtime_prune(runtime, &look, &json, &err), "[{\"digest\":\"");
  take_json(sbx_runtime_prune_start(runtime, &look), ",\"last_used\":\"20");
  take_json(sbx_runtime_prune_start(runtime, &all), "[{\"digest\":\"");
  HAS(sbx_runtime_prune(runtime, &all, &json, &err), "[]"); /* it is gone */
  sbx_runtime_free(&runtime);
  remove_state(state);
}

void walk_client(world *here) {
  sbx_client *client = here->client;
  sbx_events *events = NULL;
  sbx_bytes *json = NULL;
  OK(sbx_client_events(client, -1, &events, &err));
  HAS(sbx_client_health(client, &json, &err), "\"status\":\"ok\"");
  take_json(sbx_client_health_start(client), "\"v2\"");
  HAS(sbx_client_metrics(client, &json, &err), "# TYPE");
  take_json(sbx_client_metrics_start(client), "# TYPE");
  HAS(sbx_client_profiles(client, &json, &err), "\"name\":\"default\"");
  take_json(sbx_client_profiles_start(client), "\"name\":\"default\"");
  HAS(sbx_client_pools(client, &json, &err), "\"profile\":\"default\"");
  take_json(sbx_client_pools_start(client), "\"profile\":\"default\"");
  OK(sbx_client_set_warm(client, SBX_STR("default"), 1, &err));
  take_nothing(sbx_client_set_warm_start(client, SBX_STR("default"), 2));
  OK(sbx_client_flush(client, SBX_STR("default"), &err));
  take_nothing(sbx_client_flush_start(client, SBX_STR("default")));
  OK(sbx_client_wait_warm(client, 0, &err));
  take_nothing(sbx_client_wait_warm_start(client, 20000));
  EXPECT(SBX_NOT_FOUND, sbx_client_set_warm(client, SBX_STR("no such profile"), 1, &err));

  const sbx_pair labels[] = {{SBX_STR("who"), SBX_STR("walk")}, {SBX_STR("what"), SBX_STR("c")}};
  sbx_create_request request = SBX_CREATE_REQUEST_INIT;
  request.profile = SBX_STR("default");
  request.ttl_s = 60;
  request.labels = labels;
  request.labels_size = 2;
  request.sealed = 1;
  sbx_sandbox *box = NULL;
  OK(sbx_client_create(client, &request, NULL, &box, &err));
  char id[64];
  snprintf(id, sizeof id, "%s", sbx_sandbox_id(box).data);
  sbx_bytes *pin = NULL;
  OK(sbx_sandbox_fingerprint(box, 10000, &pin, &err));
  json = await_event(events, "sandbox.created", id);
  CHECK(!view_has(sbx_bytes_view(json), "\"id\":0,"));
  sbx_bytes_free(&json);
  HAS(sbx_client_list(client, labels, 2, &json, &err), id);
  take_json(sbx_client_list_start(client, labels, 1), id);
  HAS(sbx_client_find(client, text(id), &json, &err), "\"who\":\"walk\"");
  take_json(sbx_client_find_start(client, text(id)), "\"who\":\"walk\"");
  const sbx_pair others[] = {{SBX_STR("who"), SBX_STR("nobody")}};
  OK(sbx_client_list(client, others, 1, &json, &err));
  CHECK(!view_has(sbx_bytes_view(json), id));
  sbx_bytes_free(&json);

  sbx_sandbox *second = NULL;
  sbx_open_options pinned = SBX_OPEN_OPTIONS_INIT;
  pinned.pin = sbx_bytes_view(pin);
  OK(sbx_client_open(client, text(id), &pinned, &second, &err));
  sbx_command command = shell("echo two");
  sbx_exec_result *result = NULL;
  OK(sbx_exec(second, &command, &result, &err));
  sbx_exec_result_free(&result);
  sbx_sandbox_free(&second); /* does not destroy it */
  sbx_bytes_free(&pin);
  OK(sbx_exec(box, &command, &result, &err));
  sbx_exec_result_free(&result);
  OK(sbx_sandbox_detach(box, &err));
  CHECK(sbx_sandbox_closed(box));
  sbx_sandbox_free(&box);
  sbx_open_options sealed = SBX_OPEN_OPTIONS_INIT;
  sealed.sealed = 1;
  sbx_op *op = sbx_client_open_start(client, text(id), &sealed);
  finish(op);
  OK(sbx_op_take_sandbox(op, &box, &err));
  sbx_op_free(&op);
  OK(sbx_exec(box, &command, &result, &err));
  sbx_exec_result_free(&result);

  OK(sbx_sandbox_save_template(box, SBX_STR("mine"), &json, &err));
  char saved[64];
  string_of(json, "id", saved, sizeof saved);
  sbx_bytes_free(&json);
  HAS(sbx_client_templates(client, &json, &err), saved);
  take_json(sbx_client_templates_start(client), saved);
  HAS(sbx_client_find_template(client, text(saved), &json, &err), "\"label\":\"mine\"");
  take_json(sbx_client_find_template_start(client, text(saved)), "\"label\":\"mine\"");
  take_nothing(sbx_client_remove_start(client, text(id)));
  EXPECT(SBX_NOT_FOUND, sbx_client_remove(client, text(id), &err));
  EXPECT(SBX_NOT_FOUND, sbx_client_find(client, text(id), &json, &err));
  sbx_sandbox_free(&box);

  sbx_create_request from = SBX_CREATE_REQUEST_INIT;
  from.template_id = text(saved);
  sbx_create_options how = SBX_CREATE_OPTIONS_INIT;
  how.deadline_ms = 20000;
  op = sbx_client_create_start(client, &from, &how);
  finish(op);
  OK(sbx_op_take_sandbox(op, &box, &err));
  sbx_op_free(&op);
  sbx_sandbox_free(&box);
  OK(sbx_client_remove_template(client, text(saved), &err));
  op = sbx_client_remove_template_start(client, text(saved));
  finish(op);
  EXPECT(SBX_NOT_FOUND, sbx_op_take(op, &err));
  sbx_op_free(&op);

  sbx_spec spec = SBX_SPEC_INIT;
  spec.hostname = SBX_STR("walker");
  sbx_create_request own = SBX_CREATE_REQUEST_INIT;
  own.spec = &spec;
  OK(sbx_client_create(client, &own, &how, &box, &err));
  HAS(sbx_sandbox_spec(box, &json, &err), "\"hostname\":\"walker\"");
  sbx_sandbox_free(&box);

  HAS(sbx_client_history(client, 0, 1000, &json, &err), id);
  take_json(sbx_client_history_start(client, 0, 10), "\"events\"");
  sbx_events *past = NULL;
  op = sbx_client_events_start(client, 0);
  finish(op);
  OK(sbx_op_take_events(op, &past, &err));
  sbx_op_free(&op);
  take_json(sbx_events_next_start(past), "\"type\"");
  sbx_events_free(&past);
  CHECK(!sbx_events_gap(events));
  sbx_events_cancel(events);
  sbx_events_free(&events);

  sbx_client *other = NULL;
  EXPECT(SBX_UNAVAILABLE, sbx_client_connect(SBX_STR("unix:///no/such/socket"), NULL, &other, &err));
  EXPECT(SBX_INVALID_ARGUMENT, sbx_client_connect(SBX_STR("gopher://x"), NULL, &other, &err));
  op = sbx_client_connect_start(SBX_STR("unix:///no/such/socket"), NULL);
  finish(op);
  EXPECT(SBX_UNAVAILABLE, sbx_op_take_client(op, &other, &err));
  sbx_op_free(&op);
  take_nothing(sbx_client_close_start(client));
  OK(sbx_client_close(client, &err));
  EXPECT(SBX_FAILED_PRECONDITION, sbx_client_health(client, &json, &err));
  EXPECT(SBX_FAILED_PRECONDITION, sbx_client_create(client, NULL, NULL, &box, &err));
}
