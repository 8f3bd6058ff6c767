/* Sandboxes made, used and destroyed, again and again: descriptors, threads and memory stay as they are.
 *
 * usage: leak [ROUNDS]     (default 150) */
#include "check.h"

static void one_round(world *here, sbx_queue *queue, int number) {
  sbx_sandbox *box = world_create(here);
  const sbx_command command = shell("echo hello");
  sbx_exec_result *result = NULL;
  if (number % 2 == 0) {
    OK(sbx_exec(box, &command, &result, &err));
  } else {
    sbx_op *op = sbx_exec_start(box, &command);
    OK(sbx_op_notify(op, queue, 1, &err));
    finish(op);
    OK(sbx_op_take_exec(op, &result, &err));
    uint64_t tag;
    CHECK(sbx_queue_next(queue, &tag, 1) == 1);
    sbx_op_free(&op);
  }
  CHECK(view_is(sbx_exec_result_stdout(result), "hello\n"));
  sbx_exec_result_free(&result);
  OK(sbx_fs_write(box, SBX_STR("/root/file"), SBX_STR("content"), NULL, &err));
  sbx_bytes *bytes = NULL;
  OK(sbx_fs_read(box, SBX_STR("/root/file"), 0, &bytes, &err));
  sbx_bytes_free(&bytes);
  EXPECT(SBX_NOT_FOUND, sbx_fs_read(box, SBX_STR("/root/none"), 0, &bytes, &err));
  const sbx_command sleeper = shell("sleep 100");
  sbx_process *process = NULL;
  OK(sbx_spawn(box, &sleeper, &process, &err));
  if (number % 3 == 0) {
    sbx_op *op = sbx_process_wait_start(process);
    sbx_op_free(&op); /* given up */
  }
  sbx_process_free(&process);
  if (number % 4 == 0) {
    sbx_op *op = sbx_sandbox_close_start(box);
    finish(op);
    OK(sbx_op_take(op, &err));
    sbx_op_free(&op);
  }
  sbx_sandbox_free(&box);
}

int main(int argc, char **argv) {
  const int rounds = argc > 1 ? atoi(argv[1]) : 150;
  CHECK(rounds >= 50);
  world here;
  world_open(&here, NULL);
  sbx_queue *queue = NULL;
  OK(sbx_queue_new(&queue, &err));
  const int settled = rounds / 3; /* by then pools, threads and arenas are there */
  int descriptors = 0, threads = 0;
  long resident = 0;
  for (int i = 0; i < rounds; ++i) {
    one_round(&here, queue, i);
    if (i != settled) continue;
    descriptors = open_descriptors();
    threads = thread_count();
    resident = resident_kib();
  }
  /* What is given back behind a close takes a moment. */
  for (const int64_t until = now_ms() + 15000; open_descriptors() > descriptors + 2 && now_ms() < until;) sleep_ms(10);
  const int descriptors_now = open_descriptors(), threads_now = thread_count();
  const long resident_now = resident_kib();
  printf("%d rounds; after %d: %d descriptors, %d threads, %ld KiB; at the end: %d, %d, %ld KiB\n", rounds, settled, descriptors, threads,
         resident, descriptors_now, threads_now, resident_now);
  CHECK(descriptors_now <= descriptors + 2);
  CHECK(threads_now <= threads + 2); /* the pools grow on demand, up to a fixed number */
  CHECK(resident_now - resident < 2048); /* KiB; 100 bytes a round are 1 MiB in 10 000 */
  sbx_queue_free(&queue);
  world_close(&here);
  return 0;
}
