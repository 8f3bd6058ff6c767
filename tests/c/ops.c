/* Work under way: cancelled, dropped, waited for in every way, and much of it at once.
 *
 * usage: ops [ENDPOINT] */
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "check.h"

static void waited_for(sbx_sandbox *box) {
  sbx_command slow = shell("sleep 0.3; echo done");
  sbx_op *op = sbx_exec_start(box, &slow);
  CHECK(!sbx_op_done(op));
  sbx_exec_result *result = NULL;
  EXPECT(SBX_FAILED_PRECONDITION, sbx_op_take_exec(op, &result, &err)); /* it runs */
  EXPECT(SBX_DEADLINE_EXCEEDED, sbx_op_wait(op, 0, &err));
  EXPECT(SBX_DEADLINE_EXCEEDED, sbx_op_wait(op, 10, &err));
  int fd = -1;
  OK(sbx_op_fd(op, &fd, &err));
  struct pollfd ready = {fd, POLLIN, 0};
  CHECK(poll(&ready, 1, 0) == 0);
  CHECK(poll(&ready, 1, 20000) == 1 && sbx_op_done(op));
  OK(sbx_op_wait(op, 0, &err));
  OK(sbx_op_wait(op, -1, &err));
  OK(sbx_op_take_exec(op, &result, &err));
  CHECK(view_is(sbx_exec_result_stdout(result), "done\n"));
  sbx_exec_result_free(&result);
  EXPECT(SBX_FAILED_PRECONDITION, sbx_op_take_exec(op, &result, &err)); /* taken */
  sbx_op_free(&op);
}

/* Processes inside that match, by asking the sandbox itself. */
static int running_inside(sbx_sandbox *box, const char *what) {
  char line[128];
  snprintf(line, sizeof line, "grep -lz '^%s$' /proc/[0-9]*/cmdline 2>/dev/null | wc -l", what);
  sbx_command command = shell(line);
  sbx_exec_result *result = NULL;
  OK(sbx_exec(box, &command, &result, &err));
  const int count = atoi(sbx_exec_result_stdout(result).data);
  sbx_exec_result_free(&result);
  return count;
}

static void wait_until_gone(sbx_sandbox *box, const char *what) {
  for (const int64_t until = now_ms() + 10000; running_inside(box, what) > 0; sleep_ms(5)) CHECK(now_ms() < until);
}
static void wait_until_running(sbx_sandbox *box, const char *what, int count) {
  for (const int64_t until = now_ms() + 10000; running_inside(box, what) < count; sleep_ms(5)) CHECK(now_ms() < until);
}

static void cancelled(world *here, sbx_sandbox *box) {
  sbx_command slow = shell("exec sleep 4321");
  sbx_op *op = sbx_exec_start(box, &slow);
  wait_until_running(box, "4321", 1);
  sbx_op_cancel(op);
  sbx_op_cancel(op);
  finish(op);
  sbx_exec_result *result = NULL;
  sbx_error *err = NULL;
  const sbx_code code = sbx_op_take_exec(op, &result, &err);
  if (code == SBX_OK) { /* an outcome: killed on its caller's behalf */
    sbx_exit_status status = SBX_EXIT_STATUS_INIT;
    sbx_exec_result_status(result, &status);
    CHECK(status.cause == SBX_KILLED);
    sbx_exec_result_free(&result);
  } else {
    CHECK(code == SBX_CANCELLED);
  }
  sbx_error_free(&err);
  sbx_op_free(&op);
  wait_until_gone(box, "4321");

  /* A read that is cancelled loses nothing. */
  sbx_command echo = shell("read x; echo \"$x\"");
  echo.open_input = 1;
  sbx_process *process = NULL;
  int stream = 0;
  sbx_bytes *bytes = NULL;
  OK(sbx_spawn(box, &echo, &process, &err));
  op = sbx_process_read_start(process);
  sbx_op_cancel(op);
  finish(op);
  EXPECT(SBX_CANCELLED, sbx_op_take_output(op, &stream, &bytes, &err));
  sbx_op_free(&op);
  OK(sbx_process_write(process, SBX_STR("kept\n"), &err));
  OK(sbx_process_read(process, 10000, &stream, &bytes, &err));
  CHECK(view_is(sbx_bytes_view(bytes), "kept\n"));
  sbx_bytes_free(&bytes);
  /* A wait that is cancelled leaves the program alone. */
  sbx_process_free(&process);
  OK(sbx_spawn(box, &slow, &process, &err));
  wait_until_running(box, "4321", 1); /* the shell has become the program */
  op = sbx_process_wait_start(process);
  sbx_op_cancel(op);
  finish(op);
  sbx_exit_status status = SBX_EXIT_STATUS_INIT;
  EXPECT(SBX_CANCELLED, sbx_op_take_status(op, &status, &err));
  sbx_op_free(&op);
  CHECK(running_inside(box, "4321") == 1);
  sbx_process_free(&process);
  wait_until_gone(box, "4321");

  /* Work on our own threads ends at once, too, also the sixth where five can run. */
  sbx_op *waiting[6];
  sbx_port port = SBX_PORT_INIT;
  const int64_t begin = now_ms();
  for (int i = 0; i < 6; ++i) waiting[i] = sbx_net_expose_start(box, (uint16_t)(7000 + i), 0, 60000);
  sleep_ms(20);
  for (int i = 5; i >= 0; --i) sbx_op_cancel(waiting[i]);
  for (int i = 0; i < 6; ++i) {
    finish(waiting[i]);
    EXPECT(SBX_CANCELLED, sbx_op_take_port(waiting[i], &port, &err));
    sbx_op_free(&waiting[i]);
    /* Not taken any more: nobody listens, but one may wait for that. */
    EXPECT(SBX_DEADLINE_EXCEEDED, sbx_net_expose(box, (uint16_t)(7000 + i), 0, 1, &port, &err));
  }
  CHECK(now_ms() - begin < 20000);
  /* What waits there keeps nobody from closing a sandbox. */
  sbx_sandbox *other = world_create(here);
  op = sbx_sandbox_close_start(other);
  finish(op);
  OK(sbx_op_take(op, &err));
  sbx_op_free(&op);
  sbx_sandbox_free(&other);
  CHECK(now_ms() - begin < 40000);
}

static void dropped(world *here, sbx_sandbox *box) {
  sbx_command slow = shell("exec sleep 8765");
  sbx_op *op = sbx_exec_start(box, &slow);
  wait_until_running(box, "8765", 1);
  sbx_op_free(&op); /* cancels it */
  wait_until_gone(box, "8765");

  op = sbx_spawn_start(box, &slow);
  finish(op);
  wait_until_running(box, "8765", 1);
  sbx_op_free(&op); /* with the process in it */
  wait_until_gone(box, "8765");

  /* A sandbox that nobody took is destroyed, however far its op was. */
  if (here->runtime) {
    uint64_t before = 0, now = 0;
    OK(sbx_runtime_live(here->runtime, &before, &err));
    for (int i = 0; i < 8; ++i) {
      op = world_create_start(here);
      if (i % 2 == 0) finish(op);
      sbx_op_free(&op);
    }
    for (const int64_t until = now_ms() + 20000;; sleep_ms(5)) {
      OK(sbx_runtime_live(here->runtime, &now, &err));
      if (now == before) break;
      CHECK(now_ms() < until);
    }
  }

  /* A queue may go before its ops, and ops before their queue hears of them. */
  sbx_queue *queue = NULL;
  OK(sbx_queue_new(&queue, &err));
  sbx_command quick = shell("true");
  sbx_op *first = sbx_exec_start(box, &quick);
  sbx_op *second = sbx_exec_start(box, &quick);
  OK(sbx_op_notify(first, queue, 1, &err));
  OK(sbx_op_notify(second, queue, 2, &err));
  sbx_op_free(&first);
  sbx_queue_free(&queue);
  finish(second);
  sbx_op_free(&second);
}

/* 200 at once through one queue, in as many threads as before. */
static void many(sbx_sandbox *box) {
  enum { kMany = 200 };
  sbx_op *ops[kMany];
  sbx_queue *queue = NULL;
  OK(sbx_queue_new(&queue, &err));
  sbx_command warm_up = shell("true");
  sbx_op *once = sbx_exec_start(box, &warm_up);
  finish(once);
  sbx_op_free(&once);
  const int threads = thread_count();
  char lines[kMany][48];
  for (int i = 0; i < kMany; ++i) {
    snprintf(lines[i], sizeof lines[i], "echo %d", i);
    const sbx_command command = shell(lines[i]);
    ops[i] = sbx_exec_start(box, &command);
    OK(sbx_op_notify(ops[i], queue, (uint64_t)i, &err));
  }
  int ended = 0, most = 0;
  while (ended < kMany) {
    struct pollfd ready = {sbx_queue_fd(queue), POLLIN, 0};
    CHECK(poll(&ready, 1, 60000) == 1);
    char thrown[64];
    while (read(ready.fd, thrown, sizeof thrown) > 0) {
    }
    uint64_t tags[16];
    size_t count;
    do {
      count = sbx_queue_next(queue, tags, 16);
      for (size_t i = 0; i < count; ++i) {
        sbx_op **op = &ops[tags[i]];
        CHECK(*op != NULL && sbx_op_done(*op)); /* each once */
        sbx_exec_result *result = NULL;
        OK(sbx_op_take_exec(*op, &result, &err));
        char wanted[48];
        snprintf(wanted, sizeof wanted, "%d\n", (int)tags[i]);
        CHECK(view_is(sbx_exec_result_stdout(result), wanted));
        sbx_exec_result_free(&result);
        sbx_op_free(op);
        ++ended;
      }
    } while (count == 16);
    const int now = thread_count();
    if (now > most) most = now;
  }
  CHECK(most <= threads);
  sbx_queue_free(&queue);
}

int main(int argc, char **argv) {
  world here;
  world_open(&here, argc > 1 ? argv[1] : NULL);
  sbx_sandbox *box = world_create(&here);
  fprintf(stderr, "waited_for\n");
  waited_for(box);
  fprintf(stderr, "cancelled\n");
  cancelled(&here, box);
  fprintf(stderr, "dropped\n");
  dropped(&here, box);
  fprintf(stderr, "many\n");
  many(box);
  sbx_sandbox_free(&box);
  world_close(&here);
  return 0;
}
