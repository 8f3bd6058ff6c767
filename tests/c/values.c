/* What needs no sandbox: values, ops, the queue, and bad input. This is what valgrind looks at. */
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "check.h"

static void names(void) {
  CHECK(strcmp(sbx_version(), "0.1.0") == 0);
  CHECK(strcmp(sbx_code_name(SBX_OK), "ok") == 0 && strcmp(sbx_code_name(SBX_NOT_FOUND), "not_found") == 0);
  CHECK(strcmp(sbx_code_name(SBX_INTERNAL), "internal") == 0 && strcmp(sbx_code_name((sbx_code)15), "unknown") == 0);
  CHECK(strcmp(sbx_exit_cause_name(SBX_TIMED_OUT), "timed_out") == 0 && strcmp(sbx_exit_cause_name((sbx_exit_cause)0), "unknown") == 0);
  CHECK(strcmp(sbx_exit_cause_name(SBX_KILLED), "cancelled") == 0);
}

static void nothing(void) {
  CHECK(view_is(sbx_bytes_view(NULL), "") && view_is(sbx_error_message(NULL), "") && view_is(sbx_error_text(NULL), ""));
  CHECK(view_is(sbx_error_operation(NULL), "") && sbx_error_code(NULL) == SBX_OK && sbx_error_errno(NULL) == 0);
  CHECK(sbx_error_retry(NULL) == SBX_RETRY_NEVER);
  CHECK(view_is(sbx_exec_result_stdout(NULL), "") && view_is(sbx_exec_result_stderr(NULL), "") && view_is(sbx_sandbox_id(NULL), ""));
  CHECK(!sbx_op_done(NULL) && !sbx_sandbox_closed(NULL) && !sbx_events_gap(NULL) && sbx_process_pid(NULL) == 0);
  CHECK(sbx_queue_fd(NULL) == -1 && sbx_queue_next(NULL, NULL, 3) == 0 && sbx_exit_status_shell_code(NULL) == -1);
  CHECK(sbx_file_list_size(NULL) == 0 && sbx_env_list_size(NULL) == 0 && sbx_port_list_size(NULL) == 0);
  sbx_op_cancel(NULL);
  sbx_events_cancel(NULL);
  sbx_process_close(NULL);
  sbx_reader_close(NULL);
  sbx_writer_close(NULL);
  sbx_watch_close(NULL);
  sbx_exec_result_status(NULL, NULL);
#define FREES_NOTHING(type)     \
  do {                          \
    sbx_##type *handle = NULL;  \
    sbx_##type##_free(&handle); \
    sbx_##type##_free(NULL);    \
  } while (0)
  FREES_NOTHING(error);
  FREES_NOTHING(bytes);
  FREES_NOTHING(runtime);
  FREES_NOTHING(client);
  FREES_NOTHING(sandbox);
  FREES_NOTHING(process);
  FREES_NOTHING(exec_result);
  FREES_NOTHING(reader);
  FREES_NOTHING(writer);
  FREES_NOTHING(file_list);
  FREES_NOTHING(env_list);
  FREES_NOTHING(port_list);
  FREES_NOTHING(watch);
  FREES_NOTHING(events);
  FREES_NOTHING(op);
  FREES_NOTHING(queue);
}

/* An op that has ended, with an error. */
static sbx_op *failed_op(void) {
  sbx_op *op = sbx_client_connect_start(SBX_STR("gopher://x"), NULL);
  finish(op);
  return op;
}

static void results(void) {
  sbx_op *op = failed_op();
  uint64_t count = 5;
  EXPECT(SBX_INVALID_ARGUMENT, sbx_op_take_count(op, &count, &err)); /* another kind */
  CHECK(count == 0);
  EXPECT(SBX_INVALID_ARGUMENT, sbx_op_take_client(op, NULL, &err)); /* nowhere to put it: it stays */
  sbx_client *client = (sbx_client *)&count;
  sbx_error *kept = NULL;
  CHECK(sbx_op_take_client(op, &client, &kept) == SBX_INVALID_ARGUMENT && client == NULL);
  CHECK(view_has(sbx_error_message(kept), "endpoint") && sbx_error_retry(kept) == SBX_RETRY_NEVER);
  sbx_error_free(&kept);
  EXPECT(SBX_FAILED_PRECONDITION, sbx_op_take_client(op, &client, &err)); /* once */
  sbx_op_cancel(op); /* after its end: nothing */
  sbx_op_free(&op);
  CHECK(op == NULL);
  CHECK(sbx_client_connect(SBX_STR("gopher://x"), NULL, &client, NULL) == SBX_INVALID_ARGUMENT); /* nobody wants the error */
  op = failed_op();
  sbx_op_free(&op); /* nobody takes it */
}

static int readable(int fd) {
  struct pollfd ready = {fd, POLLIN, 0};
  CHECK(poll(&ready, 1, 0) >= 0);
  return ready.revents & POLLIN;
}

static void drain(int fd) {
  char bytes[16];
  while (read(fd, bytes, sizeof bytes) > 0) {
  }
  CHECK(errno == EAGAIN);
}

static void queues(void) {
  sbx_queue *queue = NULL, *second = NULL;
  OK(sbx_queue_new(&queue, &err));
  OK(sbx_queue_new(&second, &err));
  const int fd = sbx_queue_fd(queue);
  uint64_t tags[4] = {0};
  CHECK(!readable(fd) && sbx_queue_next(queue, tags, 4) == 0);
  enum { kOps = 9 };
  sbx_op *ops[kOps];
  for (uint64_t i = 0; i < kOps; ++i) {
    ops[i] = failed_op();
    OK(sbx_op_notify(ops[i], queue, i + 100, &err));
    EXPECT(SBX_FAILED_PRECONDITION, sbx_op_notify(ops[i], second, 1, &err)); /* once */
  }
  CHECK(readable(fd));
  drain(fd);
  CHECK(sbx_queue_next(queue, NULL, 4) == 0 && sbx_queue_next(queue, tags, 0) == 0);
  CHECK(sbx_queue_next(queue, tags, 4) == 4 && tags[0] == 100 && tags[3] == 103);
  CHECK(sbx_queue_next(queue, tags, 4) == 4 && tags[0] == 104);
  CHECK(sbx_queue_next(queue, tags, 4) == 1 && tags[0] == 108);
  CHECK(sbx_queue_next(queue, tags, 4) == 0 && !readable(fd));
  sbx_op *op = failed_op();
  OK(sbx_op_notify(op, queue, 7, &err)); /* empty to not empty: readable again */
  CHECK(readable(fd));
  sbx_op_free(&op);
  for (int i = 0; i < kOps; ++i) sbx_op_free(&ops[i]);
  sbx_queue_free(&queue);
  sbx_queue_free(&second);
}

static void descriptors(void) {
  sbx_op *op = failed_op();
  int fd = -1, again = -1;
  OK(sbx_op_fd(op, &fd, &err));
  OK(sbx_op_fd(op, &again, &err));
  CHECK(fd >= 0 && fd == again && readable(fd)); /* also when it had ended */
  sbx_op_free(&op);
  EXPECT(SBX_INVALID_ARGUMENT, sbx_op_fd(NULL, &fd, &err));
  CHECK(fd == -1);
}

static void keys(void) {
  unsigned char seed[32] = {0}, other[32] = {0};
  sbx_bytes *one = NULL, *two = NULL;
  OK(sbx_signing_key_generate(seed, &one, &err));
  OK(sbx_signing_key_generate(other, &two, &err));
  CHECK(sbx_bytes_view(one).size == 44 && strcmp(sbx_bytes_view(one).data, sbx_bytes_view(two).data) != 0);
  CHECK(memcmp(seed, other, 32) != 0);
  sbx_bytes_free(&one);
  sbx_bytes_free(&two);
  EXPECT(SBX_INVALID_ARGUMENT, sbx_signing_key_generate(NULL, &one, &err));
  EXPECT(SBX_INVALID_ARGUMENT, sbx_signing_key_generate(seed, NULL, &err));
}

/* Options are looked at before anything is started, so these need no host that can make sandboxes. */
static void bad_options(void) {
  sbx_runtime *runtime = NULL;
  sbx_client *client = NULL;
  sbx_runtime_options options = SBX_RUNTIME_OPTIONS_INIT;
  EXPECT(SBX_INVALID_ARGUMENT, sbx_runtime_open(&options, NULL, &err));
  const size_t sizes[] = {0, 1, sizeof options - 1, 5000, SIZE_MAX};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; ++i) {
    options.struct_size = sizes[i];
    EXPECT(SBX_INVALID_ARGUMENT, sbx_runtime_open(&options, &runtime, &err));
    sbx_op *op = sbx_runtime_open_start(&options);
    finish(op);
    EXPECT(SBX_INVALID_ARGUMENT, sbx_op_take_runtime(op, &runtime, &err));
    sbx_op_free(&op);
  }
  /* From a later header: fine as long as what is new is zero. */
  struct {
    sbx_client_options known;
    long fresh;
  } later = {SBX_CLIENT_OPTIONS_INIT, 1};
  later.known.struct_size = sizeof later;
  EXPECT(SBX_INVALID_ARGUMENT, sbx_client_connect(SBX_STR("unix:///no/such/socket"), &later.known, &client, &err));
  later.fresh = 0;
  EXPECT(SBX_UNAVAILABLE, sbx_client_connect(SBX_STR("unix:///no/such/socket"), &later.known, &client, &err));

#define BAD_RUNTIME(member, value)                                              \
  do {                                                                          \
    sbx_runtime_options bad = SBX_RUNTIME_OPTIONS_INIT;                         \
    bad.member = (value);                                                       \
    EXPECT(SBX_INVALID_ARGUMENT, sbx_runtime_open(&bad, &runtime, &err));       \
    CHECK(runtime == NULL);                                                     \
  } while (0)
  BAD_RUNTIME(warm_size, 1);
  BAD_RUNTIME(orphan_time_ms, -1);
  BAD_RUNTIME(state_directory, ((sbx_view){NULL, 3}));
  BAD_RUNTIME(state_directory, ((sbx_view){"/tmp\0x", 6}));
  sbx_spec spec = SBX_SPEC_INIT;
  sbx_warm warm = {1, &spec};
#define BAD_SPEC(member, value)                                            \
  do {                                                                     \
    spec = (sbx_spec)SBX_SPEC_INIT;                                        \
    spec.member = (value);                                                 \
    sbx_runtime_options bad = SBX_RUNTIME_OPTIONS_INIT;                    \
    bad.warm = &warm;                                                      \
    bad.warm_size = 1;                                                     \
    EXPECT(SBX_INVALID_ARGUMENT, sbx_runtime_open(&bad, &runtime, &err));  \
  } while (0)
  BAD_SPEC(network, (sbx_network)7);
  BAD_SPEC(struct_size, 8);
  BAD_SPEC(cpus, -1);
  BAD_SPEC(env_size, 3);
  BAD_SPEC(hostname, ((sbx_view){"a\0b", 3}));
  BAD_SPEC(image, ((sbx_view){"x", SIZE_MAX}));

#define BAD_CLIENT(member, value)                                                                          \
  do {                                                                                                     \
    sbx_client_options bad = SBX_CLIENT_OPTIONS_INIT;                                                      \
    bad.member = (value);                                                                                  \
    EXPECT(SBX_INVALID_ARGUMENT, sbx_client_connect(SBX_STR("unix:///no/such/socket"), &bad, &client, &err)); \
    CHECK(client == NULL);                                                                                 \
  } while (0)
  BAD_CLIENT(timeout_ms, -5);
  BAD_CLIENT(tenant, SBX_STR("alone")); /* without a seed */
  BAD_CLIENT(tenant_seed, SBX_STR("12345678901234567890123456789012"));
  sbx_client_options short_seed = SBX_CLIENT_OPTIONS_INIT;
  short_seed.tenant = SBX_STR("t");
  short_seed.tenant_seed = SBX_STR("short");
  EXPECT(SBX_INVALID_ARGUMENT, sbx_client_connect(SBX_STR("unix:///x"), &short_seed, &client, &err));
  EXPECT(SBX_INVALID_ARGUMENT, sbx_client_connect((sbx_view){NULL, 1}, NULL, &client, &err));
}

int main(void) {
  names();
  nothing();
  results();
  queues();
  descriptors();
  keys();
  bad_options();
  return 0;
}
