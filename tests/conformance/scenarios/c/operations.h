/* The operations of stories on the C interface. */
#ifndef SANDBOX_SCENARIOS_OPERATIONS_H
#define SANDBOX_SCENARIOS_OPERATIONS_H

#include <sandbox/c.h>

#include "story.h"

/* Where sandboxes come from: one of runtime and client is there. */
struct world {
  const char* environment;
  sbx_runtime* runtime;
  sbx_client* client;
  int sealed;
};

/* Kinds of objects. */
extern const char kSandbox[], kProcess[], kWatch[], kSocket[];

/* A running program with what was read of it and not asked for yet. */
typedef struct process_object {
  sbx_process* process;
  char* text[2]; /* standard output, error output */
  size_t size[2];
} process_object_t;

/* The object that `on` names, or null after a surprise. */
void* object_of(call_t* call, const char* kind);
sbx_view view_of(const json_t* text); /* null: the empty string */
json_t* text_of(sbx_view view);
json_t* number_of(uint64_t number);
/* Takes `err` over and notes it as the operation's error when code is none of SBX_OK. Returns whether it was. */
bool good(call_t* call, sbx_code code, sbx_error** err);
void fail_with(call_t* call, const char* code, const char* message);
/* Nothing to tell but that it went well. */
void done(call_t* call, sbx_code code, sbx_error** err);
/* Pairs of an object of texts; *size says how many. Free it. Views borrow from the object. */
sbx_pair* pairs_of(json_t* object, size_t* size);
int64_t left_ms(int64_t deadline);
int64_t clock_ms(void);

/* One per chapter of README.md; false when the operation is not theirs. */
bool perform_on_process(call_t* call);
bool perform_on_files(call_t* call);
bool perform_on_host(call_t* call);
void end_process(process_object_t* process);

#endif
