/* How a story is told, for the C runner: names, references, matchers, steps. Knows nothing of sandboxes. JSON values
 * are jansson's; text may hold any bytes. */
#ifndef SANDBOX_SCENARIOS_STORY_H
#define SANDBOX_SCENARIOS_STORY_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* What a step kept: the fields of its result, and the object it made. */
typedef struct saved {
  struct saved* next;
  char* name;
  json_t* fields;
  const char* kind; /* "sandbox", …; null: no object */
  void* object;
} saved_t;

/* Names of one story, or of one branch of `parallel` in front of those around it. */
typedef struct scope {
  const struct scope* around;
  saved_t* first; /* newest first */
} scope_t;

typedef struct world world_t;

/* One thread of one story. */
typedef struct teller {
  world_t* world;
  scope_t scope;
  char reason[2048]; /* why it did not go as told; empty while it does */
} teller_t;

/* Notes the reason, keeping an earlier one. Returns false. */
bool surprise(teller_t* teller, const char* format, ...) __attribute__((format(printf, 2, 3)));

saved_t* scope_find(const scope_t* scope, const char* name);
void scope_keep(scope_t* scope, const char* name, json_t* fields, const char* kind, void* object); /* takes both over */
bool scope_drop(scope_t* scope, const char* name);
void scope_clear(scope_t* scope); /* newest first */

/* The value meant by `value`, owned by the caller; null after a surprise. */
json_t* resolve(teller_t* teller, const json_t* value);
/* Whether it fits; false without a reason means that it does not, with one that the matcher is wrong. */
bool matches(teller_t* teller, const json_t* actual, json_t* matcher);
/* For messages, owned by the caller: one line, shortened. */
char* shown(const json_t* value);

/* One step's operation: what it is done with and what came of it. */
typedef struct call {
  teller_t* teller;
  const char* operation;
  const char* on;
  json_t* args;   /* resolved */
  json_t* left;   /* of these, the ones nobody asked for yet */
  json_t* fields; /* result, owned, or null */
  json_t* error;  /* … or what went wrong: code, message, operation, errno, retry */
  const char* kind;
  void* object;
} call_t;

/* Arguments. A wrong or missing one is noted as a surprise. Text is borrowed from the arguments. */
bool arg_has(const call_t* call, const char* name);
const json_t* arg_text(call_t* call, const char* name); /* a JSON string; null when missing */
int64_t arg_number(call_t* call, const char* name, int64_t otherwise);
double arg_real(call_t* call, const char* name);
bool arg_flag(call_t* call, const char* name, bool otherwise);
uint32_t arg_mode(call_t* call, const char* name);
json_t* arg_list(call_t* call, const char* name);
json_t* arg_object(call_t* call, const char* name);

/* operations.c: does it, filling fields or error, or notes a surprise. */
void perform(call_t* call);
/* operations.c: ends an object of a kind, as its free function does. */
void end_object(const char* kind, void* object);

bool run_steps(teller_t* teller, json_t* steps);

#endif
