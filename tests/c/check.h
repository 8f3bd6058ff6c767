/* Checks for the tests of the C interface. A failed one is told with its place and ends the program. */
#ifndef SANDBOX_TESTS_C_CHECK_H
#define SANDBOX_TESTS_C_CHECK_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sandbox/c.h>

static inline void check_that(int holds, const char *text, const char *file, int line) {
  if (holds) return;
  fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, text);
  exit(1);
}
#define CHECK(condition) check_that((condition) ? 1 : 0, #condition, __FILE__, __LINE__)

/* Every call is made with the error argument `&err`; it must be set exactly when the call failed, with the same code. */
static inline void check_code(sbx_code got, sbx_code wanted, sbx_error **err, const char *text, const char *file, int line) {
  if (got != wanted) {
    fprintf(stderr, "%s:%d: %s: %s instead of %s: %s\n", file, line, text, sbx_code_name(got), sbx_code_name(wanted),
            *err ? sbx_error_text(*err).data : "(no error)");
    exit(1);
  }
  check_that((got == SBX_OK) == (*err == NULL), "an error object comes with a failure and only then", file, line);
  if (*err) {
    check_that(sbx_error_code(*err) == got, "the error has the code that was returned", file, line);
    check_that(sbx_error_message(*err).size > 0, "the error says something", file, line);
    check_that(sbx_error_message(*err).data[sbx_error_message(*err).size] == '\0', "the message ends with a NUL", file, line);
  }
  sbx_error_free(err);
}
#define EXPECT(code, call)                                      \
  do {                                                          \
    sbx_error *err = NULL;                                      \
    const sbx_code got_ = (call);                               \
    check_code(got_, (code), &err, #call, __FILE__, __LINE__);  \
  } while (0)
#define OK(call) EXPECT(SBX_OK, call)

static inline sbx_view text(const char *string) {
  const sbx_view view = {string, strlen(string)};
  return view;
}
static inline int view_is(sbx_view view, const char *wanted) {
  return view.size == strlen(wanted) && memcmp(view.data, wanted, view.size) == 0 && view.data[view.size] == '\0';
}
static inline int view_has(sbx_view view, const char *part) { return view.data && strstr(view.data, part) != NULL; }

static inline sbx_command shell(const char *line) {
  sbx_command command = SBX_COMMAND_INIT;
  command.line = text(line);
  return command;
}

/* Ends `op` in one of the three ways a caller may wait, in turn. */
static inline void finish(sbx_op *op) {
  OK(sbx_op_wait(op, 60000, &err));
  CHECK(sbx_op_done(op));
}

/* A directory for the runtime's state, removed by remove_state(). */
void make_state(char *path, size_t size);
void remove_state(const char *path);

/* Milliseconds on a clock that only goes forward. */
int64_t now_ms(void);
void sleep_ms(int ms);
/* Open descriptors of this process. */
int open_descriptors(void);
/* Resident memory of this process, KiB. */
long resident_kib(void);
int thread_count(void);

/* A sandbox, and what it is of. */
typedef struct world {
  sbx_runtime *runtime; /* one of the two */
  sbx_client *client;
  char state[256];
} world;
/* `endpoint` null: an embedded runtime. */
void world_open(world *here, const char *endpoint);
void world_close(world *here);
sbx_sandbox *world_create(world *here);
sbx_op *world_create_start(world *here);

#endif
