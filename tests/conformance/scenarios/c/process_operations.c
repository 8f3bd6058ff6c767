#define _GNU_SOURCE /* memmem */
#include "operations.h"

#include <stdlib.h>
#include <string.h>

/* A command and what it points to. */
typedef struct line {
  sbx_command command;
  sbx_view* argv;
  sbx_pair* env;
  sbx_view input;
} line_t;

static void command_of(call_t* call, line_t* line) {
  sbx_command command = SBX_COMMAND_INIT;
  if (arg_has(call, "argv")) {
    json_t* list = arg_list(call, "argv");
    command.argv_size = json_array_size(list);
    line->argv = calloc(command.argv_size + 1, sizeof *line->argv);
    if (line->argv == NULL) abort();
    for (size_t i = 0; i < command.argv_size; ++i) line->argv[i] = view_of(json_array_get(list, i));
    command.argv = line->argv;
  } else {
    command.line = view_of(arg_text(call, "line"));
  }
  line->env = pairs_of(arg_object(call, "env"), &command.env_size);
  command.env = line->env;
  command.clear_env = arg_flag(call, "clear_env", false);
  if (arg_has(call, "workdir")) command.workdir = view_of(arg_text(call, "workdir"));
  command.timeout_ms = arg_number(call, "timeout_ms", 0);
  command.max_output = (uint64_t)arg_number(call, "max_output", 0);
  if (arg_has(call, "input")) {
    line->input = view_of(arg_text(call, "input"));
    command.input = &line->input;
  }
  command.merge_stderr = arg_flag(call, "merge_stderr", false);
  if (arg_has(call, "idempotency_key")) command.idempotency_key = view_of(arg_text(call, "idempotency_key"));
  line->command = command;
}

static void line_free(line_t* line) {
  free(line->argv);
  free(line->env);
}

static json_t* status_fields(const sbx_exit_status* status) {
  const char* cause = sbx_exit_cause_name(status->cause);
  json_t* fields = json_pack("{s:s, s:i, s:i, s:i, s:b, s:i}", "cause", cause, "exit_code", status->exit_code, "signal",
                             status->signal, "shell_code", sbx_exit_status_shell_code(status), "core_dumped",
                             status->core_dumped, "oom_kills", (int)status->oom_kills);
  json_object_set_new(fields, "stdout_bytes", number_of(status->stdout_bytes));
  json_object_set_new(fields, "stderr_bytes", number_of(status->stderr_bytes));
  json_object_set_new(fields, "stdout_dropped", number_of(status->stdout_dropped));
  json_object_set_new(fields, "stderr_dropped", number_of(status->stderr_dropped));
  json_object_set_new(fields, "wall_time_ns", number_of(status->wall_time_ns));
  json_object_set_new(fields, "max_rss", number_of(status->max_rss));
  return fields;
}

static void exec(call_t* call) {
  line_t line = {.argv = NULL};
  sbx_exec_result* result = NULL;
  sbx_error* err = NULL;
  command_of(call, &line);
  if (good(call, sbx_exec(object_of(call, kSandbox), &line.command, &result, &err), &err)) {
    sbx_exit_status status = SBX_EXIT_STATUS_INIT;
    sbx_exec_result_status(result, &status);
    call->fields = status_fields(&status);
    json_object_set_new(call->fields, "stdout", text_of(sbx_exec_result_stdout(result)));
    json_object_set_new(call->fields, "stderr", text_of(sbx_exec_result_stderr(result)));
  }
  sbx_exec_result_free(&result);
  line_free(&line);
}

static void spawn(call_t* call) {
  line_t line = {.argv = NULL};
  sbx_process* process = NULL;
  sbx_error* err = NULL;
  command_of(call, &line);
  line.command.open_input = arg_flag(call, "open_input", false);
  line.command.rows = (uint16_t)arg_number(call, "rows", 0);
  line.command.columns = (uint16_t)arg_number(call, "columns", 0);
  if (good(call, sbx_spawn(object_of(call, kSandbox), &line.command, &process, &err), &err)) {
    process_object_t* object = calloc(1, sizeof *object);
    if (object == NULL) abort();
    object->process = process;
    call->kind = kProcess;
    call->object = object;
    call->fields = json_pack("{s:i}", "pid", (int)sbx_process_pid(process));
  }
  line_free(&line);
}

void end_process(process_object_t* process) {
  sbx_process_free(&process->process);
  free(process->text[0]);
  free(process->text[1]);
  free(process);
}

/* One read into the buffers. False at the end and after an error. */
static bool read_once(call_t* call, process_object_t* object, int64_t timeout_ms) {
  int stream = 0;
  sbx_bytes* bytes = NULL;
  sbx_error* err = NULL;
  if (!good(call, sbx_process_read(object->process, timeout_ms, &stream, &bytes, &err), &err) || bytes == NULL)
    return false;
  const sbx_view view = sbx_bytes_view(bytes);
  if (stream != 1 && stream != 2) {
    surprise(call->teller, "there is no stream %d", stream);
  } else {
    char** text = &object->text[stream - 1];
    size_t* size = &object->size[stream - 1];
    *text = realloc(*text, *size + view.size + 1);
    if (*text == NULL) abort();
    memcpy(*text + *size, view.data, view.size);
    *size += view.size;
  }
  sbx_bytes_free(&bytes);
  return true;
}

/* The first `size` bytes of a buffer, taken out of it. */
static json_t* take(process_object_t* object, int stream, size_t size) {
  json_t* text = text_of((sbx_view){object->text[stream], size});
  object->size[stream] -= size;
  if (object->size[stream] > 0) memmove(object->text[stream], object->text[stream] + size, object->size[stream]);
  return text;
}

static void read_until(call_t* call, process_object_t* object) {
  const sbx_view text = view_of(arg_text(call, "text"));
  const int64_t deadline = clock_ms() + arg_number(call, "timeout_ms", 10000);
  for (;;) {
    const char* found = object->size[0] > 0 ? memmem(object->text[0], object->size[0], text.data, text.size) : NULL;
    if (found != NULL) {
      call->fields = json_pack("{s:o}", "stdout", take(object, 0, (size_t)(found - object->text[0]) + text.size));
      return;
    }
    if (!read_once(call, object, left_ms(deadline))) {
      if (call->error == NULL) surprise(call->teller, "the output ended before");
      return;
    }
  }
}

static void read_all(call_t* call, process_object_t* object) {
  const int64_t deadline = clock_ms() + arg_number(call, "timeout_ms", 10000);
  while (read_once(call, object, left_ms(deadline))) continue;
  if (call->error != NULL) return;
  json_t* out = take(object, 0, object->size[0]);
  call->fields = json_pack("{s:o, s:o}", "stdout", out, "stderr", take(object, 1, object->size[1]));
}

bool perform_on_process(call_t* call) {
  const char* what = call->operation;
  sbx_error* err = NULL;
  if (strcmp(what, "exec") == 0) return exec(call), true;
  if (strcmp(what, "spawn") == 0) return spawn(call), true;
  if (strncmp(what, "process.", 8) != 0) return false;
  what += 8;
  process_object_t* object = object_of(call, kProcess);
  if (object == NULL) return true;
  sbx_process* process = object->process;
  if (strcmp(what, "read_until") == 0)
    read_until(call, object);
  else if (strcmp(what, "read_all") == 0)
    read_all(call, object);
  else if (strcmp(what, "close_input") == 0)
    done(call, sbx_process_close_input(process, &err), &err);
  else if (strcmp(what, "kill") == 0)
    done(call, sbx_process_kill(process, &err), &err);
  else if (strcmp(what, "write") == 0)
    done(call, sbx_process_write(process, view_of(arg_text(call, "content")), &err), &err);
  else if (strcmp(what, "signal") == 0)
    done(call, sbx_process_signal(process, (int)arg_number(call, "signal", 0), &err), &err);
  else if (strcmp(what, "read") == 0) {
    const bool more = read_once(call, object, arg_number(call, "timeout_ms", 10000));
    if (call->error == NULL) call->fields = json_pack("{s:b}", "end", !more);
  } else if (strcmp(what, "resize") == 0) {
    const uint16_t rows = (uint16_t)arg_number(call, "rows", 0);
    done(call, sbx_process_resize(process, rows, (uint16_t)arg_number(call, "columns", 0), &err), &err);
  } else if (strcmp(what, "wait") == 0) {
    sbx_exit_status status = SBX_EXIT_STATUS_INIT;
    if (good(call, sbx_process_wait(process, arg_number(call, "timeout_ms", 0), &status, &err), &err))
      call->fields = status_fields(&status);
  } else if (strcmp(what, "free") == 0) {
    call->fields = json_object();
    if (!scope_drop(&call->teller->scope, call->on)) surprise(call->teller, "nothing was saved here as %s", call->on);
  } else {
    return false;
  }
  return true;
}
