/* Handles used by several threads: what one thread closes under the feet of another fails there, with a code.
 *
 * usage: threads [ENDPOINT] */
#include <pthread.h>

#include "check.h"

enum { kThreads = 4 };

typedef struct job {
  sbx_sandbox *box;
  sbx_process *process;
  sbx_reader *reader;
  sbx_writer *writer;
  sbx_watch *watch;
  sbx_events *events;
  sbx_runtime *runtime;
  sbx_code code; /* what the blocked call ended with */
  int calls;     /* that succeeded before */
} job;

static sbx_code call_of(sbx_code code, sbx_error **err) {
  CHECK((code == SBX_OK) == (*err == NULL));
  sbx_error_free(err);
  return code;
}

/* Calls until the sandbox is closed. */
static void *use_until_closed(void *argument) {
  job *mine = argument;
  const sbx_command command = shell("echo x");
  for (;;) {
    sbx_error *err = NULL;
    sbx_bytes *bytes = NULL;
    sbx_exec_result *result = NULL;
    sbx_code code = call_of(sbx_env_get(mine->box, SBX_STR("PATH"), &bytes, &err), &err);
    sbx_bytes_free(&bytes);
    if (code == SBX_OK) code = call_of(sbx_exec(mine->box, &command, &result, &err), &err);
    sbx_exec_result_free(&result);
    if (code == SBX_OK) {
      sbx_op *op = sbx_fs_list_start(mine->box, SBX_STR("/root"));
      finish(op);
      sbx_file_list *files = NULL;
      code = call_of(sbx_op_take_files(op, &files, &err), &err);
      sbx_file_list_free(&files);
      sbx_op_free(&op);
    }
    if (code != SBX_OK) {
      mine->code = code;
      return NULL;
    }
    ++mine->calls;
  }
}

static int is_end(sbx_code code) { return code == SBX_FAILED_PRECONDITION || code == SBX_CANCELLED || code == SBX_UNAVAILABLE; }

static void sandbox_closed(world *here) {
  for (int round = 0; round < 3; ++round) {
    sbx_sandbox *box = world_create(here);
    job jobs[kThreads];
    pthread_t threads[kThreads];
    memset(jobs, 0, sizeof jobs);
    for (int i = 0; i < kThreads; ++i) {
      jobs[i].box = box;
      CHECK(pthread_create(&threads[i], NULL, use_until_closed, &jobs[i]) == 0);
    }
    sleep_ms(60 + 40 * round);
    OK(sbx_sandbox_close(box, &err));
    for (int i = 0; i < kThreads; ++i) {
      CHECK(pthread_join(threads[i], NULL) == 0);
      CHECK(is_end(jobs[i].code));
    }
    const sbx_command command = shell("true");
    sbx_exec_result *result = NULL;
    EXPECT(SBX_FAILED_PRECONDITION, sbx_exec(box, &command, &result, &err));
    sbx_sandbox_free(&box);
  }
}

static void *blocked_read(void *argument) {
  job *mine = argument;
  int stream;
  sbx_bytes *bytes = NULL;
  mine->code = sbx_process_read(mine->process, 0, &stream, &bytes, NULL);
  return NULL;
}
static void *blocked_watch(void *argument) {
  job *mine = argument;
  sbx_file_event event = SBX_FILE_EVENT_INIT;
  mine->code = sbx_watch_next(mine->watch, 0, &event, NULL);
  return NULL;
}
static void *blocked_reader(void *argument) { /* reads a file that is far larger than what may wait here */
  job *mine = argument;
  for (mine->code = SBX_OK; mine->code == SBX_OK;) {
    sbx_bytes *bytes = NULL;
    mine->code = sbx_reader_read(mine->reader, &bytes, NULL);
    if (mine->code == SBX_OK && !bytes) return NULL;
    sbx_bytes_free(&bytes);
    sleep_ms(5);
  }
  return NULL;
}
static void *blocked_writer(void *argument) {
  job *mine = argument;
  static const char piece[1 << 16];
  for (mine->code = SBX_OK; mine->code == SBX_OK;) mine->code = sbx_writer_write(mine->writer, (sbx_view){piece, sizeof piece}, NULL);
  return NULL;
}
static void *blocked_events(void *argument) {
  job *mine = argument;
  for (mine->code = SBX_OK; mine->code == SBX_OK;) {
    sbx_bytes *bytes = NULL;
    mine->code = sbx_events_next(mine->events, 0, &bytes, NULL);
    sbx_bytes_free(&bytes);
  }
  return NULL;
}
static void *blocked_wait(void *argument) {
  job *mine = argument;
  sbx_exit_status status = SBX_EXIT_STATUS_INIT;
  mine->code = sbx_process_wait(mine->process, 0, &status, NULL);
  return NULL;
}

static void streams_closed(world *here) {
  sbx_sandbox *box = world_create(here);
  job mine;
  memset(&mine, 0, sizeof mine);
  pthread_t thread;
#define BLOCK(function, close_it)                                  \
  do {                                                             \
    CHECK(pthread_create(&thread, NULL, function, &mine) == 0);    \
    sleep_ms(30);                                                  \
    close_it;                                                      \
    CHECK(pthread_join(thread, NULL) == 0);                        \
    CHECK(is_end(mine.code));                                      \
  } while (0)
  sbx_command quiet = shell("exec sleep 1000");
  OK(sbx_spawn(box, &quiet, &mine.process, &err));
  BLOCK(blocked_read, sbx_process_close(mine.process));
  sbx_process_free(&mine.process);
  OK(sbx_spawn(box, &quiet, &mine.process, &err));
  BLOCK(blocked_wait, sbx_process_close(mine.process));
  sbx_process_free(&mine.process);

  OK(sbx_fs_watch(box, SBX_STR("/root"), 1, &mine.watch, &err));
  BLOCK(blocked_watch, sbx_watch_close(mine.watch));
  sbx_watch_free(&mine.watch);

  sbx_command large = shell("head -c 60000000 /dev/zero > /root/large");
  sbx_exec_result *result = NULL;
  OK(sbx_exec(box, &large, &result, &err));
  sbx_exec_result_free(&result);
  OK(sbx_fs_open_reader(box, SBX_STR("/root/large"), &mine.reader, &err));
  BLOCK(blocked_reader, sbx_reader_close(mine.reader));
  sbx_reader_free(&mine.reader);

  OK(sbx_fs_open_writer(box, SBX_STR("/root/written"), NULL, &mine.writer, &err));
  CHECK(pthread_create(&thread, NULL, blocked_writer, &mine) == 0);
  sleep_ms(20);
  sbx_writer_close(mine.writer);
  CHECK(pthread_join(thread, NULL) == 0 && (is_end(mine.code) || mine.code == SBX_RESOURCE_EXHAUSTED)); /* or the disk was full first */
  sbx_writer_free(&mine.writer);

  if (here->runtime) OK(sbx_runtime_events(here->runtime, &mine.events, &err));
  else OK(sbx_client_events(here->client, -1, &mine.events, &err));
  BLOCK(blocked_events, sbx_events_cancel(mine.events));
  sbx_events_free(&mine.events);
  sbx_sandbox_free(&box);
}

/* Creates until the runtime is closed. */
static void *create_until_closed(void *argument) {
  job *mine = argument;
  for (mine->code = SBX_OK; mine->code == SBX_OK; ++mine->calls) {
    sbx_sandbox *box = NULL;
    sbx_error *err = NULL;
    mine->code = call_of(sbx_runtime_create(mine->runtime, NULL, NULL, &box, &err), &err);
    CHECK((mine->code == SBX_OK) == (box != NULL));
    sbx_sandbox_free(&box);
  }
  return NULL;
}

/* What is started on something closed ends, with a code. */
static void started_after_close(world *here, sbx_sandbox *box, sbx_process *process) {
  const sbx_command command = shell("true");
  sbx_op *ops[] = {
      sbx_exec_start(box, &command), sbx_spawn_start(box, &command),        sbx_env_get_start(box, SBX_STR("A")),
      sbx_fs_list_start(box, SBX_STR("/")), sbx_fs_watch_start(box, SBX_STR("/root"), 0), sbx_sandbox_stats_start(box),
      sbx_process_read_start(process), sbx_process_wait_start(process),     sbx_process_write_start(process, SBX_STR("x")),
      here->runtime ? sbx_runtime_create_start(here->runtime, NULL, NULL) : sbx_client_create_start(here->client, NULL, NULL),
      sbx_net_connect_start(box, 80, 0),
  };
  for (size_t i = 0; i < sizeof ops / sizeof *ops; ++i) {
    finish(ops[i]);
    CHECK(sbx_op_take(ops[i], NULL) != SBX_OK);
    sbx_op_free(&ops[i]);
  }
  sbx_op *op = sbx_env_get_start(box, SBX_STR("A"));
  sbx_bytes *bytes = NULL;
  finish(op);
  EXPECT(SBX_FAILED_PRECONDITION, sbx_op_take_bytes(op, &bytes, &err));
  sbx_op_free(&op);
  op = sbx_sandbox_close_start(box);
  finish(op);
  OK(sbx_op_take(op, &err));
  sbx_op_free(&op);
}

/* Whoever closes second waits for the first, and so does free. */
static void runtime_closed_by_several(void) {
  for (int freed = 0; freed < 2; ++freed) {
    world here;
    world_open(&here, NULL);
    sbx_sandbox *box = world_create(&here);
    const sbx_command sleeper = shell("exec sleep 1000");
    sbx_op *running = sbx_exec_start(box, &sleeper);
    sbx_op *closing = sbx_runtime_close_start(here.runtime);
    if (freed) {
      sbx_runtime_free(&here.runtime);
    } else {
      OK(sbx_runtime_close(here.runtime, &err));
      uint64_t live = 7;
      EXPECT(SBX_FAILED_PRECONDITION, sbx_runtime_live(here.runtime, &live, &err));
      CHECK(live == 0);
    }
    CHECK(sbx_sandbox_closed(box));
    finish(closing);
    OK(sbx_op_take(closing, &err));
    sbx_op_free(&closing);
    finish(running);
    sbx_exec_result *result = NULL;
    EXPECT(SBX_CANCELLED, sbx_op_take_exec(running, &result, &err));
    sbx_op_free(&running);
    EXPECT(SBX_FAILED_PRECONDITION, sbx_exec(box, &sleeper, &result, &err));
    sbx_sandbox_free(&box);
    world_close(&here);
  }
}

static void runtime_closed(void) {
  world here;
  world_open(&here, NULL);
  sbx_sandbox *left = world_create(&here);
  sbx_command sleeper = shell("exec sleep 1000");
  sleeper.open_input = 1;
  sbx_process *process = NULL;
  OK(sbx_spawn(left, &sleeper, &process, &err));
  job jobs[kThreads];
  pthread_t threads[kThreads];
  sbx_op *ops[8];
  memset(jobs, 0, sizeof jobs);
  for (int i = 0; i < kThreads; ++i) {
    jobs[i].runtime = here.runtime;
    CHECK(pthread_create(&threads[i], NULL, create_until_closed, &jobs[i]) == 0);
  }
  for (int i = 0; i < 8; ++i) ops[i] = world_create_start(&here);
  sleep_ms(100);
  OK(sbx_runtime_close(here.runtime, &err));
  for (int i = 0; i < kThreads; ++i) {
    CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(is_end(jobs[i].code));
  }
  for (int i = 0; i < 8; ++i) {
    finish(ops[i]); /* each ends, one way or the other */
    sbx_op_free(&ops[i]);
  }
  started_after_close(&here, left, process);
  sbx_process_free(&process);
  sbx_sandbox_free(&left);
  world_close(&here);
}

static void client_closed(const char *endpoint) {
  world here;
  world_open(&here, endpoint);
  sbx_sandbox *left = world_create(&here);
  sbx_command sleeper = shell("exec sleep 1000");
  sleeper.open_input = 1;
  sbx_process *process = NULL;
  OK(sbx_spawn(left, &sleeper, &process, &err));
  OK(sbx_sandbox_close(left, &err));
  OK(sbx_client_close(here.client, &err));
  started_after_close(&here, left, process);
  sbx_process_free(&process);
  sbx_sandbox_free(&left);
  world_close(&here);
}

/* Several threads wait for one op, and take it: one gets it. */
static void *take_it(void *argument) {
  sbx_op *op = argument;
  finish(op);
  sbx_exec_result *result = NULL;
  const sbx_code code = sbx_op_take_exec(op, &result, NULL);
  CHECK((code == SBX_OK && result) || (code == SBX_FAILED_PRECONDITION && !result));
  sbx_exec_result_free(&result);
  return code == SBX_OK ? op : NULL;
}

static void taken_once(world *here) {
  sbx_sandbox *box = world_create(here);
  const sbx_command command = shell("sleep 0.05");
  for (int round = 0; round < 5; ++round) {
    sbx_op *op = sbx_exec_start(box, &command);
    pthread_t threads[kThreads];
    int takers = 0;
    for (int i = 0; i < kThreads; ++i) CHECK(pthread_create(&threads[i], NULL, take_it, op) == 0);
    for (int i = 0; i < kThreads; ++i) {
      void *took = NULL;
      CHECK(pthread_join(threads[i], &took) == 0);
      takers += took != NULL;
    }
    CHECK(takers == 1);
    sbx_op_free(&op);
  }
  sbx_sandbox_free(&box);
}

int main(int argc, char **argv) {
  world here;
  world_open(&here, argc > 1 ? argv[1] : NULL);
  fprintf(stderr, "sandbox_closed\n");
  sandbox_closed(&here);
  fprintf(stderr, "streams_closed\n");
  streams_closed(&here);
  fprintf(stderr, "client_closed\n");
  if (here.client) client_closed(argv[1]);
  fprintf(stderr, "taken_once\n");
  taken_once(&here);
  world_close(&here);
  fprintf(stderr, "runtime_closed\n");
  if (argc == 1) runtime_closed();
  fprintf(stderr, "runtime_closed_by_several\n");
  if (argc == 1) runtime_closed_by_several();
  return 0;
}
