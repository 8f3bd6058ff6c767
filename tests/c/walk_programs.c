#include "walk.h"

static void status_of(sbx_sandbox *box, const sbx_command *command, sbx_exit_status *status) {
  sbx_exec_result *result = NULL;
  OK(sbx_exec(box, command, &result, &err));
  sbx_exec_result_status(result, status);
  sbx_exec_result_free(&result);
  CHECK(result == NULL);
}

static void collected(sbx_sandbox *box) {
  sbx_command command = shell("echo out; echo err >&2; exit 3");
  sbx_exec_result *result = NULL;
  OK(sbx_exec(box, &command, &result, &err));
  sbx_exit_status status = SBX_EXIT_STATUS_INIT;
  sbx_exec_result_status(result, &status);
  CHECK(status.cause == SBX_EXITED && status.exit_code == 3 && sbx_exit_status_shell_code(&status) == 3);
  CHECK(status.stdout_bytes == 4 && status.stderr_bytes == 4 && status.stdout_dropped == 0 && status.wall_time_ns > 0 && status.max_rss > 0);
  CHECK(view_is(sbx_exec_result_stdout(result), "out\n") && view_is(sbx_exec_result_stderr(result), "err\n"));
  sbx_exec_result_free(&result);

  sbx_op *op = sbx_exec_start(box, &command);
  finish(op);
  OK(sbx_op_take_exec(op, &result, &err));
  CHECK(view_is(sbx_exec_result_stdout(result), "out\n"));
  sbx_exec_result_free(&result);
  sbx_op_free(&op);

  /* Everything a command may say, at once. */
  const sbx_view argv[] = {SBX_STR("/bin/sh"), SBX_STR("-c"), SBX_STR("cat; echo \"$A:$HOME:$PWD\"; echo e >&2")};
  const sbx_pair env[] = {{SBX_STR("A"), SBX_STR("a b")}, {SBX_STR("PATH"), SBX_STR("/usr/bin:/bin")}};
  const sbx_view input = SBX_STR("in\n");
  sbx_command all = SBX_COMMAND_INIT;
  all.argv = argv;
  all.argv_size = 3;
  all.env = env;
  all.env_size = 2;
  all.clear_env = 1;
  all.workdir = SBX_STR("/tmp");
  all.input = &input;
  all.merge_stderr = 1;
  all.idempotency_key = SBX_STR("walk-1");
  OK(sbx_exec(box, &all, &result, &err));
  CHECK(view_is(sbx_exec_result_stdout(result), "in\na b::/tmp\ne\n"));
  sbx_exec_result_free(&result);
}

static void endings(sbx_sandbox *box) {
  sbx_exit_status status = SBX_EXIT_STATUS_INIT;
  sbx_command late = shell("sleep 60");
  late.timeout_ms = 100;
  status_of(box, &late, &status);
  CHECK(status.cause == SBX_TIMED_OUT && sbx_exit_status_shell_code(&status) == 124);
  sbx_command hurt = shell("kill -TERM $$");
  status_of(box, &hurt, &status);
  CHECK(status.cause == SBX_SIGNALLED && status.signal == 15 && sbx_exit_status_shell_code(&status) == 143);
  sbx_command loud = shell("head -c 100000 /dev/zero");
  loud.max_output = 1000;
  status_of(box, &loud, &status);
  CHECK(status.stdout_bytes == 100000 && status.stdout_dropped == 99000);
  loud.max_output = UINT64_MAX;
  status_of(box, &loud, &status);
  CHECK(status.stdout_dropped == 100000);
  sbx_exec_result *result = NULL;
  const sbx_view missing[] = {SBX_STR("/no/such/program")};
  sbx_command none = SBX_COMMAND_INIT;
  none.argv = missing;
  none.argv_size = 1;
  EXPECT(SBX_NOT_FOUND, sbx_exec(box, &none, &result, &err));
  CHECK(result == NULL);
}

static void streamed(sbx_sandbox *box) {
  sbx_command command = shell("read line; echo \"got $line\"; echo e >&2; cat");
  command.open_input = 1;
  sbx_process *process = NULL;
  OK(sbx_spawn(box, &command, &process, &err));
  CHECK(sbx_process_pid(process) > 1);
  int stream = 0;
  sbx_bytes *bytes = NULL;
  EXPECT(SBX_DEADLINE_EXCEEDED, sbx_process_read(process, 50, &stream, &bytes, &err));
  CHECK(stream == 0 && bytes == NULL);
  sbx_exit_status status = SBX_EXIT_STATUS_INIT;
  OK(sbx_process_write(process, SBX_STR("one\n"), &err));
  char out[64] = "", error[64] = "";
  while (strlen(out) + strlen(error) < strlen("got one\ne\n")) {
    OK(sbx_process_read(process, 10000, &stream, &bytes, &err));
    CHECK(bytes != NULL);
    strcat(stream == 1 ? out : error, sbx_bytes_view(bytes).data);
    sbx_bytes_free(&bytes);
  }
  CHECK(strcmp(out, "got one\n") == 0 && strcmp(error, "e\n") == 0);

  sbx_op *reading = sbx_process_read_start(process); /* one reads while another writes */
  sbx_op *writing = sbx_process_write_start(process, SBX_STR("two"));
  finish(writing);
  OK(sbx_op_take(writing, &err));
  finish(reading);
  OK(sbx_op_take_output(reading, &stream, &bytes, &err));
  CHECK(stream == 1 && view_is(sbx_bytes_view(bytes), "two"));
  sbx_bytes_free(&bytes);
  sbx_op_free(&reading);
  sbx_op_free(&writing);

  OK(sbx_process_close_input(process, &err));
  OK(sbx_process_close_input(process, &err));
  EXPECT(SBX_FAILED_PRECONDITION, sbx_process_write(process, SBX_STR("late"), &err));
  OK(sbx_process_read(process, 10000, &stream, &bytes, &err)); /* the end, again and again */
  CHECK(bytes == NULL && stream == 0);
  OK(sbx_process_read(process, 10000, &stream, &bytes, &err));
  CHECK(bytes == NULL);
  OK(sbx_process_wait(process, 10000, &status, &err));
  CHECK(status.cause == SBX_EXITED && status.exit_code == 0);
  OK(sbx_process_wait(process, 0, &status, &err));
  sbx_process_free(&process);
  CHECK(process == NULL);
}

static void controlled(sbx_sandbox *box) {
  sbx_command sleeper = shell("trap 'exit 7' USR1; echo ready; while :; do sleep 0.05; done");
  sbx_op *op = sbx_spawn_start(box, &sleeper);
  finish(op);
  sbx_process *process = NULL;
  OK(sbx_op_take_process(op, &process, &err));
  sbx_op_free(&op);
  int stream = 0;
  sbx_bytes *bytes = NULL;
  OK(sbx_process_read(process, 10000, &stream, &bytes, &err));
  CHECK(view_is(sbx_bytes_view(bytes), "ready\n"));
  sbx_bytes_free(&bytes);
  EXPECT(SBX_FAILED_PRECONDITION, sbx_process_resize(process, 30, 100, &err)); /* no terminal */
  OK(sbx_process_signal(process, 10, &err));
  sbx_exit_status status = SBX_EXIT_STATUS_INIT;
  op = sbx_process_wait_start(process);
  finish(op);
  OK(sbx_op_take_status(op, &status, &err));
  sbx_op_free(&op);
  CHECK(status.cause == SBX_EXITED && status.exit_code == 7);
  sbx_process_free(&process);

  sleeper = shell("sleep 1000");
  OK(sbx_spawn(box, &sleeper, &process, &err));
  EXPECT(SBX_DEADLINE_EXCEEDED, sbx_process_wait(process, 20, &status, &err));
  OK(sbx_process_kill(process, &err));
  OK(sbx_process_wait(process, 10000, &status, &err));
  CHECK(status.cause == SBX_KILLED && status.signal == 9);
  sbx_process_close(process);
  sbx_process_close(process);
  EXPECT(SBX_FAILED_PRECONDITION, sbx_process_kill(process, &err));
  EXPECT(SBX_FAILED_PRECONDITION, sbx_process_wait(process, 0, &status, &err));
  sbx_process_free(&process);
}

static void on_a_terminal(sbx_sandbox *box) {
  sbx_command command = shell("stty size; read go; stty size");
  command.rows = 30;
  command.columns = 100;
  command.open_input = 1;
  sbx_process *process = NULL;
  OK(sbx_spawn(box, &command, &process, &err));
  char seen[512] = "";
  int resized = 0;
  for (;;) {
    int stream = 0;
    sbx_bytes *bytes = NULL;
    OK(sbx_process_read(process, 20000, &stream, &bytes, &err));
    if (!bytes) break;
    CHECK(strlen(seen) + sbx_bytes_view(bytes).size < sizeof seen);
    strcat(seen, sbx_bytes_view(bytes).data);
    sbx_bytes_free(&bytes);
    if (!resized && strstr(seen, "30 100")) {
      resized = 1;
      OK(sbx_process_resize(process, 40, 120, &err));
      OK(sbx_process_write(process, SBX_STR("\n"), &err));
    }
  }
  CHECK(strstr(seen, "40 120") != NULL);
  sbx_process_free(&process);
}

void walk_programs(sbx_sandbox *box) {
  collected(box);
  endings(box);
  streamed(box);
  controlled(box);
  on_a_terminal(box);
}
