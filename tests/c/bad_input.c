/* Wrong calls on a live sandbox: each is told, none ends the program, and none leaves anything behind.
 *
 * usage: bad_input [ENDPOINT] */
#include "check.h"

#define NULL_TEXT ((sbx_view){NULL, 3})
#define NUL_TEXT ((sbx_view){"/a\0b", 4})
#define INVALID(call) EXPECT(SBX_INVALID_ARGUMENT, call)

static void refused(sbx_op *op) {
  CHECK(op != NULL);
  finish(op);
  int stream, fd;
  uint64_t count;
  sbx_bytes *bytes;
  sbx_sandbox *box;
  sbx_process *process;
  sbx_exec_result *result;
  sbx_file_list *files;
  sbx_env_list *variables;
  sbx_port_list *ports;
  sbx_watch *watch;
  sbx_events *events;
  sbx_runtime *runtime;
  sbx_client *client;
  sbx_transfer transfer = SBX_TRANSFER_INIT;
  sbx_exit_status status = SBX_EXIT_STATUS_INIT;
  sbx_stats stats = SBX_STATS_INIT;
  sbx_port port = SBX_PORT_INIT;
  sbx_file_event event = SBX_FILE_EVENT_INIT;
  /* Whatever it is of, its own kind tells why, and the others that they are others: all the same code. */
  INVALID(sbx_op_take(op, &err));
  sbx_code last = SBX_OK;
#define TRY(call) last = (call) != SBX_OK ? SBX_INVALID_ARGUMENT : SBX_OK, CHECK(last == SBX_INVALID_ARGUMENT)
  TRY(sbx_op_take_count(op, &count, NULL));
  TRY(sbx_op_take_bytes(op, &bytes, NULL));
  TRY(sbx_op_take_sandbox(op, &box, NULL));
  TRY(sbx_op_take_process(op, &process, NULL));
  TRY(sbx_op_take_exec(op, &result, NULL));
  TRY(sbx_op_take_files(op, &files, NULL));
  TRY(sbx_op_take_env(op, &variables, NULL));
  TRY(sbx_op_take_ports(op, &ports, NULL));
  TRY(sbx_op_take_watch(op, &watch, NULL));
  TRY(sbx_op_take_events(op, &events, NULL));
  TRY(sbx_op_take_runtime(op, &runtime, NULL));
  TRY(sbx_op_take_client(op, &client, NULL));
  TRY(sbx_op_take_output(op, &stream, &bytes, NULL));
  TRY(sbx_op_take_fd(op, &fd, NULL));
  TRY(sbx_op_take_transfer(op, &transfer, NULL));
  TRY(sbx_op_take_status(op, &status, NULL));
  TRY(sbx_op_take_stats(op, &stats, NULL));
  TRY(sbx_op_take_port(op, &port, NULL));
  TRY(sbx_op_take_file_event(op, &event, NULL));
  sbx_op_free(&op);
}

static void null_handles(void) {
  sbx_command command = shell("true");
  sbx_bytes *bytes = NULL;
  sbx_exec_result *result = NULL;
  sbx_process *process = NULL;
  sbx_reader *reader = NULL;
  sbx_writer *writer = NULL;
  sbx_file_list *files = NULL;
  sbx_env_list *variables = NULL;
  sbx_port_list *ports = NULL;
  sbx_watch *watch = NULL;
  sbx_events *events = NULL;
  sbx_sandbox *box = NULL;
  sbx_exit_status status = SBX_EXIT_STATUS_INIT;
  sbx_stats stats = SBX_STATS_INIT;
  sbx_port port = SBX_PORT_INIT;
  sbx_file_event event = SBX_FILE_EVENT_INIT;
  sbx_file_info info = SBX_FILE_INFO_INIT;
  sbx_pair pair;
  uint64_t count = 0;
  int fd = 0, stream = 0;
  const sbx_view p = SBX_STR("/root/x");
  INVALID(sbx_exec(NULL, &command, &result, &err));
  INVALID(sbx_spawn(NULL, &command, &process, &err));
  INVALID(sbx_process_read(NULL, 0, &stream, &bytes, &err));
  INVALID(sbx_process_write(NULL, p, &err));
  INVALID(sbx_process_close_input(NULL, &err));
  INVALID(sbx_process_signal(NULL, 9, &err));
  INVALID(sbx_process_resize(NULL, 1, 1, &err));
  INVALID(sbx_process_kill(NULL, &err));
  INVALID(sbx_process_wait(NULL, 0, &status, &err));
  INVALID(sbx_fs_read(NULL, p, 0, &bytes, &err));
  INVALID(sbx_fs_read_range(NULL, p, 0, 1, &bytes, &err));
  INVALID(sbx_fs_write(NULL, p, p, NULL, &err));
  INVALID(sbx_fs_open_reader(NULL, p, &reader, &err));
  INVALID(sbx_fs_open_tar_reader(NULL, p, &reader, &err));
  INVALID(sbx_fs_open_writer(NULL, p, NULL, &writer, &err));
  INVALID(sbx_fs_open_tar_writer(NULL, p, &writer, &err));
  INVALID(sbx_reader_read(NULL, &bytes, &err));
  INVALID(sbx_writer_write(NULL, p, &err));
  INVALID(sbx_writer_finish(NULL, NULL, &err));
  INVALID(sbx_fs_upload(NULL, p, p, NULL, &err));
  INVALID(sbx_fs_download(NULL, p, p, NULL, &err));
  INVALID(sbx_fs_list(NULL, p, &files, &err));
  INVALID(sbx_fs_find(NULL, p, p, NULL, &files, &err));
  INVALID(sbx_fs_stat(NULL, p, 0, &files, &err));
  INVALID(sbx_file_list_at(NULL, 0, &info, &err));
  INVALID(sbx_fs_mkdir(NULL, p, &err));
  INVALID(sbx_fs_remove(NULL, p, 1, &err));
  INVALID(sbx_fs_rename(NULL, p, p, &err));
  INVALID(sbx_fs_copy(NULL, p, p, &count, &err));
  INVALID(sbx_fs_symlink(NULL, p, p, &err));
  INVALID(sbx_fs_chmod(NULL, p, 0, &err));
  INVALID(sbx_fs_watch(NULL, p, 0, &watch, &err));
  INVALID(sbx_watch_next(NULL, 0, &event, &err));
  INVALID(sbx_env_get(NULL, p, &bytes, &err));
  INVALID(sbx_env_set(NULL, p, p, &err));
  INVALID(sbx_env_unset(NULL, p, &err));
  INVALID(sbx_env_all(NULL, &variables, &err));
  INVALID(sbx_env_list_at(NULL, 0, &pair, &err));
  INVALID(sbx_net_connect(NULL, 1, 0, &fd, &err));
  INVALID(sbx_net_expose(NULL, 1, 0, 0, &port, &err));
  INVALID(sbx_net_list(NULL, &ports, &err));
  INVALID(sbx_port_list_at(NULL, 0, &port, &err));
  INVALID(sbx_net_close(NULL, 1, &err));
  INVALID(sbx_sandbox_close(NULL, &err));
  INVALID(sbx_sandbox_detach(NULL, &err));
  INVALID(sbx_sandbox_ping(NULL, 0, &count, &err));
  INVALID(sbx_sandbox_stats(NULL, &stats, &err));
  INVALID(sbx_sandbox_pause(NULL, &err));
  INVALID(sbx_sandbox_resume(NULL, &err));
  INVALID(sbx_sandbox_save_template(NULL, p, &bytes, &err));
  INVALID(sbx_sandbox_fingerprint(NULL, 0, &bytes, &err));
  INVALID(sbx_sandbox_unenforced(NULL, &bytes, &err));
  INVALID(sbx_sandbox_spec(NULL, &bytes, &err));
  INVALID(sbx_runtime_close(NULL, &err));
  INVALID(sbx_runtime_create(NULL, NULL, NULL, &box, &err));
  INVALID(sbx_runtime_wait_warm(NULL, 0, &err));
  INVALID(sbx_runtime_set_warm(NULL, NULL, 0, &err));
  INVALID(sbx_runtime_live(NULL, &count, &err));
  INVALID(sbx_runtime_pools(NULL, &bytes, &err));
  INVALID(sbx_runtime_templates(NULL, &bytes, &err));
  INVALID(sbx_runtime_find_template(NULL, p, &bytes, &err));
  INVALID(sbx_runtime_remove_template(NULL, p, &err));
  INVALID(sbx_runtime_prune(NULL, NULL, &bytes, &err));
  INVALID(sbx_runtime_host(NULL, &bytes, &err));
  INVALID(sbx_runtime_next_adopted(NULL, &box, &err));
  INVALID(sbx_runtime_leave(NULL, &err));
  INVALID(sbx_runtime_events(NULL, &events, &err));
  INVALID(sbx_client_close(NULL, &err));
  INVALID(sbx_client_create(NULL, NULL, NULL, &box, &err));
  INVALID(sbx_client_open(NULL, p, NULL, &box, &err));
  INVALID(sbx_client_remove(NULL, p, &err));
  INVALID(sbx_client_list(NULL, NULL, 0, &bytes, &err));
  INVALID(sbx_client_find(NULL, p, &bytes, &err));
  INVALID(sbx_client_templates(NULL, &bytes, &err));
  INVALID(sbx_client_find_template(NULL, p, &bytes, &err));
  INVALID(sbx_client_remove_template(NULL, p, &err));
  INVALID(sbx_client_profiles(NULL, &bytes, &err));
  INVALID(sbx_client_pools(NULL, &bytes, &err));
  INVALID(sbx_client_set_warm(NULL, p, 1, &err));
  INVALID(sbx_client_flush(NULL, p, &err));
  INVALID(sbx_client_wait_warm(NULL, 0, &err));
  INVALID(sbx_client_history(NULL, 0, 1, &bytes, &err));
  INVALID(sbx_client_health(NULL, &bytes, &err));
  INVALID(sbx_client_metrics(NULL, &bytes, &err));
  INVALID(sbx_client_events(NULL, -1, &events, &err));
  INVALID(sbx_events_next(NULL, 0, &bytes, &err));
  INVALID(sbx_op_wait(NULL, 0, &err));
  INVALID(sbx_op_take(NULL, &err));
  INVALID(sbx_op_take_bytes(NULL, &bytes, &err));
  INVALID(sbx_op_notify(NULL, NULL, 0, &err));
  INVALID(sbx_queue_new(NULL, &err));

  refused(sbx_exec_start(NULL, &command));
  refused(sbx_spawn_start(NULL, &command));
  refused(sbx_process_read_start(NULL));
  refused(sbx_process_write_start(NULL, p));
  refused(sbx_process_wait_start(NULL));
  refused(sbx_fs_read_start(NULL, p, 0));
  refused(sbx_fs_read_range_start(NULL, p, 0, 1));
  refused(sbx_fs_write_start(NULL, p, p, NULL));
  refused(sbx_reader_read_start(NULL));
  refused(sbx_writer_write_start(NULL, p));
  refused(sbx_writer_finish_start(NULL));
  refused(sbx_fs_upload_start(NULL, p, p));
  refused(sbx_fs_download_start(NULL, p, p));
  refused(sbx_fs_list_start(NULL, p));
  refused(sbx_fs_find_start(NULL, p, p, NULL));
  refused(sbx_fs_stat_start(NULL, p, 0));
  refused(sbx_fs_mkdir_start(NULL, p));
  refused(sbx_fs_remove_start(NULL, p, 0));
  refused(sbx_fs_rename_start(NULL, p, p));
  refused(sbx_fs_copy_start(NULL, p, p));
  refused(sbx_fs_symlink_start(NULL, p, p));
  refused(sbx_fs_chmod_start(NULL, p, 0));
  refused(sbx_fs_watch_start(NULL, p, 0));
  refused(sbx_watch_next_start(NULL));
  refused(sbx_env_get_start(NULL, p));
  refused(sbx_env_set_start(NULL, p, p));
  refused(sbx_env_unset_start(NULL, p));
  refused(sbx_env_all_start(NULL));
  refused(sbx_net_connect_start(NULL, 1, 0));
  refused(sbx_net_expose_start(NULL, 1, 0, 0));
  refused(sbx_net_list_start(NULL));
  refused(sbx_net_close_start(NULL, 1));
  refused(sbx_sandbox_close_start(NULL));
  refused(sbx_sandbox_detach_start(NULL));
  refused(sbx_sandbox_ping_start(NULL, 0));
  refused(sbx_sandbox_stats_start(NULL));
  refused(sbx_sandbox_pause_start(NULL));
  refused(sbx_sandbox_resume_start(NULL));
  refused(sbx_sandbox_save_template_start(NULL, p));
  refused(sbx_sandbox_fingerprint_start(NULL, 0));
  refused(sbx_runtime_close_start(NULL));
  refused(sbx_runtime_create_start(NULL, NULL, NULL));
  refused(sbx_runtime_wait_warm_start(NULL, 0));
  refused(sbx_runtime_set_warm_start(NULL, NULL, 0));
  refused(sbx_runtime_templates_start(NULL));
  refused(sbx_runtime_find_template_start(NULL, p));
  refused(sbx_runtime_remove_template_start(NULL, p));
  refused(sbx_runtime_prune_start(NULL, NULL));
  refused(sbx_runtime_leave_start(NULL));
  refused(sbx_client_close_start(NULL));
  refused(sbx_client_create_start(NULL, NULL, NULL));
  refused(sbx_client_open_start(NULL, p, NULL));
  refused(sbx_client_remove_start(NULL, p));
  refused(sbx_client_list_start(NULL, NULL, 0));
  refused(sbx_client_find_start(NULL, p));
  refused(sbx_client_templates_start(NULL));
  refused(sbx_client_find_template_start(NULL, p));
  refused(sbx_client_remove_template_start(NULL, p));
  refused(sbx_client_profiles_start(NULL));
  refused(sbx_client_pools_start(NULL));
  refused(sbx_client_set_warm_start(NULL, p, 1));
  refused(sbx_client_flush_start(NULL, p));
  refused(sbx_client_wait_warm_start(NULL, 0));
  refused(sbx_client_history_start(NULL, 0, 1));
  refused(sbx_client_health_start(NULL));
  refused(sbx_client_metrics_start(NULL));
  refused(sbx_client_events_start(NULL, -1));
  refused(sbx_events_next_start(NULL));
}

/* Options from an earlier header: what the struct lacked then is not looked at. */
static void earlier_header(void) {
  sbx_runtime *runtime = NULL;
  sbx_runtime_options options = SBX_RUNTIME_OPTIONS_INIT;
  options.helper_directory = SBX_STR("/no/such/directory");
  options.require_proof.size = 3;
  INVALID(sbx_runtime_open(&options, &runtime, &err));
  options.struct_size = offsetof(sbx_runtime_options, require_proof);
  EXPECT(SBX_NOT_FOUND, sbx_runtime_open(&options, &runtime, &err));
  options.struct_size = offsetof(sbx_runtime_options, prune_after_ms);
  INVALID(sbx_runtime_open(&options, &runtime, &err)); /* it had require_proof */
  options.require_proof.size = 0;
  EXPECT(SBX_NOT_FOUND, sbx_runtime_open(&options, &runtime, &err));
}

static void commands(sbx_sandbox *box) {
  sbx_exec_result *result = NULL;
  sbx_process *process = NULL;
  INVALID(sbx_exec(box, NULL, &result, &err));
  refused(sbx_exec_start(box, NULL));
  sbx_command good = shell("true");
  INVALID(sbx_exec(box, &good, NULL, &err));
#define BAD(member, value)                              \
  do {                                                  \
    sbx_command bad = shell("true");                    \
    bad.member = (value);                               \
    INVALID(sbx_exec(box, &bad, &result, &err));        \
    CHECK(result == NULL);                              \
    refused(sbx_exec_start(box, &bad));                 \
    refused(sbx_spawn_start(box, &bad));                \
  } while (0)
  const sbx_view words[] = {SBX_STR("true"), NULL_TEXT}, none[] = {SBX_STR("")};
  const sbx_pair pairs[] = {{SBX_STR("A=B"), SBX_STR("")}}, nuls[] = {{SBX_STR("A"), NUL_TEXT}};
  const sbx_view null_text = NULL_TEXT;
  BAD(struct_size, 0);
  BAD(struct_size, sizeof good - 8);
  BAD(line, SBX_STR(""));
  BAD(line, NULL_TEXT);
  BAD(line, NUL_TEXT);
  BAD(line, ((sbx_view){"x", SIZE_MAX}));
  BAD(argv_size, 1); /* of a null pointer */
  BAD(env_size, 1);
  BAD(timeout_ms, -1);
  BAD(workdir, SBX_STR("relative"));
  BAD(workdir, NUL_TEXT);
  BAD(rows, 5); /* without columns */
  BAD(input, &null_text);
  BAD(idempotency_key, SBX_STR("0123456789012345678901234567890123456789012345678901234567890123456789"));
  sbx_command bad = shell("true");
  bad.argv = words; /* with a line, too */
  bad.argv_size = 1;
  INVALID(sbx_exec(box, &bad, &result, &err));
  bad.line = SBX_STR("");
  bad.argv_size = 2;
  INVALID(sbx_exec(box, &bad, &result, &err));
  bad.argv_size = SIZE_MAX;
  INVALID(sbx_exec(box, &bad, &result, &err));
  bad.argv = none;
  bad.argv_size = 1;
  INVALID(sbx_exec(box, &bad, &result, &err));
  bad = shell("true");
  bad.env = pairs;
  bad.env_size = 1;
  INVALID(sbx_exec(box, &bad, &result, &err));
  bad.env = nuls;
  INVALID(sbx_spawn(box, &bad, &process, &err));
  bad = shell("true");
  bad.open_input = 1;
  INVALID(sbx_exec(box, &bad, &result, &err)); /* needs spawn */

  char *huge = malloc(3 << 20);
  memset(huge, 'x', 3 << 20);
  bad = shell("true");
  bad.line = (sbx_view){huge, 3 << 20};
  INVALID(sbx_exec(box, &bad, &result, &err));
  INVALID(sbx_env_set(box, SBX_STR("A"), (sbx_view){huge, 3 << 20}, &err));
  INVALID(sbx_fs_mkdir(box, (sbx_view){huge, 3 << 20}, &err));
  free(huge);

  good = shell("sleep 100");
  OK(sbx_spawn(box, &good, &process, &err));
  int stream = 0;
  sbx_bytes *bytes = NULL;
  sbx_exit_status status = SBX_EXIT_STATUS_INIT;
  INVALID(sbx_process_read(process, -1, &stream, &bytes, &err));
  INVALID(sbx_process_read(process, 1, NULL, &bytes, &err));
  INVALID(sbx_process_read(process, 1, &stream, NULL, &err));
  INVALID(sbx_process_signal(process, 0, &err));
  INVALID(sbx_process_signal(process, 1000, &err));
  INVALID(sbx_process_wait(process, -1, &status, &err));
  INVALID(sbx_process_wait(process, 1, NULL, &err));
  status.struct_size = 4;
  INVALID(sbx_process_wait(process, 1, &status, &err));
  EXPECT(SBX_FAILED_PRECONDITION, sbx_process_write(process, SBX_STR("x"), &err)); /* its input is not open */
  sbx_process_free(&process);
}

static void files(sbx_sandbox *box) {
  sbx_bytes *bytes = NULL;
  sbx_file_list *list = NULL;
  sbx_watch *watch = NULL;
  const sbx_view paths[] = {SBX_STR(""), SBX_STR("relative"), NULL_TEXT, NUL_TEXT, {"/x", SIZE_MAX}};
  for (size_t i = 0; i < sizeof paths / sizeof *paths; ++i) {
    const sbx_view path = paths[i];
    sbx_reader *reader = NULL;
    sbx_writer *writer = NULL;
    INVALID(sbx_fs_read(box, path, 0, &bytes, &err));
    refused(sbx_fs_read_start(box, path, 0));
    INVALID(sbx_fs_write(box, path, SBX_STR(""), NULL, &err));
    refused(sbx_fs_write_start(box, path, SBX_STR(""), NULL));
    INVALID(sbx_fs_open_reader(box, path, &reader, &err));
    INVALID(sbx_fs_open_tar_reader(box, path, &reader, &err));
    INVALID(sbx_fs_open_writer(box, path, NULL, &writer, &err));
    INVALID(sbx_fs_open_tar_writer(box, path, &writer, &err));
    INVALID(sbx_fs_list(box, path, &list, &err));
    INVALID(sbx_fs_stat(box, path, 1, &list, &err));
    INVALID(sbx_fs_find(box, path, SBX_STR("*"), NULL, &list, &err));
    INVALID(sbx_fs_mkdir(box, path, &err));
    refused(sbx_fs_mkdir_start(box, path));
    INVALID(sbx_fs_remove(box, path, 1, &err));
    INVALID(sbx_fs_rename(box, path, SBX_STR("/root/x"), &err));
    INVALID(sbx_fs_rename(box, SBX_STR("/root/x"), path, &err));
    INVALID(sbx_fs_symlink(box, SBX_STR("x"), path, &err));
    INVALID(sbx_fs_chmod(box, path, 0, &err));
    INVALID(sbx_fs_watch(box, path, 0, &watch, &err));
    CHECK(!bytes && !list && !watch && !reader && !writer);
  }
  INVALID(sbx_fs_write(box, SBX_STR("/root/x"), NULL_TEXT, NULL, &err));
  INVALID(sbx_fs_chmod(box, SBX_STR("/root/x"), 0100000, &err));
  sbx_write_options how = SBX_WRITE_OPTIONS_INIT;
  how.append = how.exclusive = 1;
  INVALID(sbx_fs_write(box, SBX_STR("/root/x"), SBX_STR(""), &how, &err));
  how = (sbx_write_options)SBX_WRITE_OPTIONS_INIT;
  how.mode = 0xffffffff;
  INVALID(sbx_fs_write(box, SBX_STR("/root/x"), SBX_STR(""), &how, &err));
  sbx_find_options find = SBX_FIND_OPTIONS_INIT;
  find.type = (sbx_file_type)99;
  INVALID(sbx_fs_find(box, SBX_STR("/root"), SBX_STR("*"), &find, &list, &err));
  sbx_transfer transfer = SBX_TRANSFER_INIT;
  transfer.struct_size = 3;
  INVALID(sbx_fs_upload(box, SBX_STR("/tmp"), SBX_STR("/root/x"), &transfer, &err));
  INVALID(sbx_fs_upload(box, NUL_TEXT, SBX_STR("/root/x"), NULL, &err));
  refused(sbx_fs_upload_start(box, SBX_STR("/tmp"), NULL_TEXT));
  EXPECT(SBX_INVALID_ARGUMENT, sbx_fs_read(box, SBX_STR("/root"), 0, &bytes, &err)); /* a directory */
}

static void the_rest(world *here, sbx_sandbox *box) {
  sbx_bytes *bytes = NULL;
  uint64_t count = 0;
  int fd = 0;
  sbx_stats stats = SBX_STATS_INIT;
  sbx_port port = SBX_PORT_INIT;
  sbx_sandbox *made = NULL;
  INVALID(sbx_env_get(box, NUL_TEXT, &bytes, &err));
  INVALID(sbx_env_get(box, SBX_STR("A"), NULL, &err));
  INVALID(sbx_env_set(box, SBX_STR("A"), NUL_TEXT, &err));
  INVALID(sbx_sandbox_ping(box, -1, &count, &err));
  INVALID(sbx_sandbox_ping(box, 0, NULL, &err));
  OK(sbx_sandbox_ping(box, INT64_MAX, &count, &err)); /* as long as it takes */
  stats.struct_size = 16;
  INVALID(sbx_sandbox_stats(box, &stats, &err));
  INVALID(sbx_sandbox_stats(box, NULL, &err));
  INVALID(sbx_net_connect(box, 80, -1, &fd, &err));
  INVALID(sbx_net_connect(box, 80, 0, NULL, &err));
  INVALID(sbx_net_expose(box, 0, 0, 0, &port, &err));
  port.struct_size = 0;
  INVALID(sbx_net_expose(box, 80, 0, 0, &port, &err));
  INVALID(sbx_net_close(box, 0, &err));
  sbx_create_options how = SBX_CREATE_OPTIONS_INIT;
  how.deadline_ms = -1;
  sbx_spec spec = SBX_SPEC_INIT;
  spec.hostname = SBX_STR("not a host name/");
  if (here->runtime) {
    INVALID(sbx_runtime_create(here->runtime, NULL, &how, &made, &err));
    refused(sbx_runtime_create_start(here->runtime, NULL, &how));
    INVALID(sbx_runtime_create(here->runtime, NULL, NULL, NULL, &err));
    INVALID(sbx_runtime_create(here->runtime, &spec, NULL, &made, &err));
    spec = (sbx_spec)SBX_SPEC_INIT;
    spec.memory = 1; /* less than anything can live in */
    INVALID(sbx_runtime_create(here->runtime, &spec, NULL, &made, &err));
    INVALID(sbx_runtime_wait_warm(here->runtime, -1, &err));
    CHECK(sbx_runtime_find_template(here->runtime, SBX_STR("../../etc/passwd"), &bytes, NULL) != SBX_OK);
  } else {
    sbx_create_request request = SBX_CREATE_REQUEST_INIT;
    request.ttl_s = -1;
    INVALID(sbx_client_create(here->client, &request, NULL, &made, &err));
    request = (sbx_create_request)SBX_CREATE_REQUEST_INIT;
    request.profile = SBX_STR("default");
    request.spec = &spec;
    INVALID(sbx_client_create(here->client, &request, NULL, &made, &err));
    request.spec = NULL;
    request.labels_size = 2;
    refused(sbx_client_create_start(here->client, &request, NULL));
    INVALID(sbx_client_open(here->client, SBX_STR("../health"), NULL, &made, &err));
    sbx_open_options pin = SBX_OPEN_OPTIONS_INIT;
    pin.pin = SBX_STR("sha256:short");
    INVALID(sbx_client_open(here->client, text(sbx_sandbox_id(box).data), &pin, &made, &err));
    CHECK(sbx_client_find(here->client, SBX_STR("a/b"), &bytes, NULL) != SBX_OK);
  }
  CHECK(!made && !bytes);
}

int main(int argc, char **argv) {
  world here;
  world_open(&here, argc > 1 ? argv[1] : NULL);
  sbx_sandbox *box = world_create(&here);
  null_handles();
  earlier_header();
  commands(box);
  files(box);
  the_rest(&here, box);
  /* It is as well as before. */
  sbx_command command = shell("echo fine");
  sbx_exec_result *result = NULL;
  OK(sbx_exec(box, &command, &result, &err));
  CHECK(view_is(sbx_exec_result_stdout(result), "fine\n"));
  sbx_exec_result_free(&result);
  sbx_sandbox_free(&box);
  world_close(&here);
  return 0;
}
