/* fork(): the library does not go along. A child gets an error from every call, at once, and whatever it does the parent's
 * sandboxes live on; a child of a process that has not begun to use the library has it for itself.
 *
 * usage: fork [ENDPOINT] */
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

#ifdef __SANITIZE_ADDRESS__
/* A forked child frees nothing of its parent's, which would be told of as leaked when it ends. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "detect_leaks=0"; }
#endif

/* Seconds a child may take; SIGALRM ends one that hangs. */
enum { kLimit = 30 };

static void expect_good_end(pid_t child) {
  int status = 0;
  CHECK(child > 0 && waitpid(child, &status, 0) == child);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) fprintf(stderr, "the child ended with status %#x\n", (unsigned)status);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void use(sbx_sandbox *box) {
  const sbx_command command = shell("echo hi");
  sbx_exec_result *result = NULL;
  OK(sbx_exec(box, &command, &result, &err));
  CHECK(view_is(sbx_exec_result_stdout(result), "hi\n"));
  sbx_exec_result_free(&result);
}

static void before_use(const char *endpoint) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(kLimit);
    world here;
    world_open(&here, endpoint);
    sbx_sandbox *box = world_create(&here);
    use(box);
    sbx_sandbox_free(&box);
    world_close(&here);
    _exit(0);
  }
  expect_good_end(child);
}

/* Everything that is there when the process forks. */
typedef struct things {
  world here;
  sbx_sandbox *box;
  sbx_process *process;
  sbx_reader *reader;
  sbx_writer *writer;
  sbx_watch *watch;
  sbx_events *events;
  sbx_queue *queue;
  sbx_op *op; /* under way, reports to the queue */
} things;

static void things_open(things *all, const char *endpoint) {
  world_open(&all->here, endpoint);
  all->box = world_create(&all->here);
  sbx_command cat = shell("cat");
  cat.open_input = 1;
  OK(sbx_spawn(all->box, &cat, &all->process, &err));
  OK(sbx_fs_write(all->box, SBX_STR("/root/file"), SBX_STR("content"), NULL, &err));
  OK(sbx_fs_open_reader(all->box, SBX_STR("/root/file"), &all->reader, &err));
  OK(sbx_fs_open_writer(all->box, SBX_STR("/root/new"), NULL, &all->writer, &err));
  OK(sbx_fs_watch(all->box, SBX_STR("/root"), 1, &all->watch, &err));
  if (all->here.runtime) OK(sbx_runtime_events(all->here.runtime, &all->events, &err));
  OK(sbx_queue_new(&all->queue, &err));
  all->op = sbx_process_read_start(all->process);
  OK(sbx_op_notify(all->op, all->queue, 7, &err));
}

static void refused(sbx_code code, sbx_error **err, int line) {
  if (code != SBX_FAILED_PRECONDITION || !*err || !view_has(sbx_error_message(*err), "forked")) {
    fprintf(stderr, "%s:%d: %s instead of being told of the fork\n", __FILE__, line, sbx_code_name(code));
    _exit(1);
  }
  sbx_error_free(err);
}
#define REFUSED(call) (err = NULL, refused((call), &err, __LINE__))
/* An op that a child starts ends at once. */
#define REFUSED_OP(start, take)                        \
  do {                                                 \
    sbx_op *op = (start);                              \
    if (!op || !sbx_op_done(op)) _exit(2);             \
    REFUSED(sbx_op_wait(op, -1, &err));                \
    REFUSED(take);                                     \
    sbx_op_free(&op);                                  \
    if (op) _exit(3);                                  \
  } while (0)

static void use_as_child(things *all) {
  sbx_error *err = NULL;
  sbx_runtime *runtime = NULL;
  sbx_client *client = NULL;
  sbx_sandbox *box = NULL;
  sbx_queue *queue = NULL;
  sbx_bytes *bytes = NULL;
  sbx_exec_result *result = NULL;
  sbx_file_list *files = NULL;
  sbx_exit_status status = SBX_EXIT_STATUS_INIT;
  sbx_file_event event = SBX_FILE_EVENT_INIT;
  uint64_t count = 0;
  int stream = 0;
  const sbx_command command = shell("true");
  REFUSED(sbx_runtime_open(NULL, &runtime, &err));
  REFUSED(sbx_client_connect(SBX_STR(""), NULL, &client, &err));
  REFUSED(sbx_queue_new(&queue, &err));
  REFUSED_OP(sbx_runtime_open_start(NULL), sbx_op_take_runtime(op, &runtime, &err));
  if (all->here.runtime) {
    REFUSED(sbx_runtime_create(all->here.runtime, NULL, NULL, &box, &err));
    REFUSED_OP(sbx_runtime_create_start(all->here.runtime, NULL, NULL), sbx_op_take_sandbox(op, &box, &err));
    REFUSED(sbx_runtime_live(all->here.runtime, &count, &err));
    REFUSED(sbx_runtime_close(all->here.runtime, &err));
    REFUSED(sbx_events_next(all->events, 0, &bytes, &err));
    sbx_events_cancel(all->events);
  } else {
    REFUSED(sbx_client_list(all->here.client, NULL, 0, &bytes, &err));
    REFUSED(sbx_client_close(all->here.client, &err));
  }
  REFUSED(sbx_exec(all->box, &command, &result, &err));
  REFUSED_OP(sbx_exec_start(all->box, &command), sbx_op_take_exec(op, &result, &err));
  REFUSED(sbx_env_get(all->box, SBX_STR("HOME"), &bytes, &err));
  REFUSED_OP(sbx_env_get_start(all->box, SBX_STR("HOME")), sbx_op_take_bytes(op, &bytes, &err));
  REFUSED(sbx_fs_list(all->box, SBX_STR("/"), &files, &err));
  REFUSED(sbx_sandbox_close(all->box, &err));
  REFUSED_OP(sbx_sandbox_close_start(all->box), sbx_op_take(op, &err));
  REFUSED(sbx_process_read(all->process, 0, &stream, &bytes, &err));
  REFUSED(sbx_process_write(all->process, SBX_STR("x"), &err));
  REFUSED(sbx_process_kill(all->process, &err));
  REFUSED(sbx_process_wait(all->process, 0, &status, &err));
  REFUSED(sbx_reader_read(all->reader, &bytes, &err));
  REFUSED(sbx_writer_finish(all->writer, NULL, &err));
  REFUSED(sbx_watch_next(all->watch, 0, &event, &err));
  REFUSED(sbx_op_wait(all->op, -1, &err));
  REFUSED(sbx_op_take_output(all->op, &stream, &bytes, &err));
  sbx_op_cancel(all->op);
  uint64_t tags[4];
  if (sbx_queue_next(all->queue, tags, 4) != 0 || sbx_queue_fd(all->queue) != -1) _exit(4);
}

static void free_all(things *all) {
  sbx_op_free(&all->op);
  sbx_queue_free(&all->queue);
  sbx_process_close(all->process);
  sbx_process_free(&all->process);
  sbx_reader_close(all->reader);
  sbx_reader_free(&all->reader);
  sbx_writer_close(all->writer);
  sbx_writer_free(&all->writer);
  sbx_watch_close(all->watch);
  sbx_watch_free(&all->watch);
  sbx_events_free(&all->events);
  sbx_sandbox_free(&all->box);
}

static void *get_again_and_again(void *argument) {
  things *const all = argument;
  for (int i = 0; i < 3000; ++i) {
    sbx_bytes *bytes = NULL;
    OK(sbx_env_get(all->box, SBX_STR("HOME"), &bytes, &err));
    sbx_bytes_free(&bytes);
  }
  return NULL;
}

static void after_use(const char *endpoint) {
  things all = {0};
  things_open(&all, endpoint);
  uint64_t before = 0, now = 0;
  if (all.here.runtime) OK(sbx_runtime_live(all.here.runtime, &before, &err));
  /* Threads of ours hold the library's locks at any moment; some children end with exit(), and so run its destructors. */
  pthread_t busy[2];
  for (int i = 0; i < 2; ++i) CHECK(pthread_create(&busy[i], NULL, get_again_and_again, &all) == 0);
  for (int i = 0; i < 20; ++i) {
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) {
      alarm(kLimit);
      use_as_child(&all);
      free_all(&all);
      sbx_runtime_free(&all.here.runtime);
      sbx_client_free(&all.here.client);
      if (all.box || all.op || all.here.runtime || all.here.client) _exit(5);
      if (i % 2 == 0) _exit(0);
      exit(0);
    }
    expect_good_end(child);
  }
  for (int i = 0; i < 2; ++i) CHECK(pthread_join(busy[i], NULL) == 0);

  /* Here nothing has happened. */
  CHECK(!sbx_op_done(all.op));
  OK(sbx_process_write(all.process, SBX_STR("alive\n"), &err));
  finish(all.op);
  int stream = 0;
  sbx_bytes *bytes = NULL;
  OK(sbx_op_take_output(all.op, &stream, &bytes, &err));
  CHECK(view_is(sbx_bytes_view(bytes), "alive\n"));
  sbx_bytes_free(&bytes);
  uint64_t tag = 0;
  CHECK(sbx_queue_next(all.queue, &tag, 1) == 1 && tag == 7);
  OK(sbx_reader_read(all.reader, &bytes, &err));
  CHECK(view_is(sbx_bytes_view(bytes), "content"));
  sbx_bytes_free(&bytes);
  OK(sbx_writer_finish(all.writer, NULL, &err));
  use(all.box);
  if (all.here.runtime) {
    OK(sbx_runtime_live(all.here.runtime, &now, &err));
    CHECK(now == before);
  }
  free_all(&all);
  world_close(&all.here);
}

int main(int argc, char **argv) {
  const char *const endpoint = argc > 1 ? argv[1] : NULL;
  fprintf(stderr, "before_use\n");
  before_use(endpoint);
  fprintf(stderr, "after_use\n");
  after_use(endpoint);
  return 0;
}
