#define _POSIX_C_SOURCE 200809L
#include "story.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

saved_t* scope_find(const scope_t* scope, const char* name) {
  for (; scope != NULL; scope = scope->around) {
    for (saved_t* saved = scope->first; saved != NULL; saved = saved->next) {
      if (strcmp(saved->name, name) == 0) return saved;
    }
  }
  return NULL;
}

void scope_keep(scope_t* scope, const char* name, json_t* fields, const char* kind, void* object) {
  saved_t* saved = calloc(1, sizeof *saved);
  if (saved == NULL) abort();
  *saved = (saved_t){.next = scope->first, .name = strdup(name), .fields = fields, .kind = kind, .object = object};
  scope->first = saved;
}

static void saved_free(saved_t* saved) {
  if (saved->object != NULL) end_object(saved->kind, saved->object);
  json_decref(saved->fields);
  free(saved->name);
  free(saved);
}

bool scope_drop(scope_t* scope, const char* name) {
  for (saved_t** at = &scope->first; *at != NULL; at = &(*at)->next) {
    if (strcmp((*at)->name, name) == 0) {
      saved_t* saved = *at;
      *at = saved->next;
      saved_free(saved);
      return true;
    }
  }
  return false;
}

void scope_clear(scope_t* scope) {
  while (scope->first != NULL) {
    saved_t* saved = scope->first;
    scope->first = saved->next;
    saved_free(saved);
  }
}

static json_t* arg_take(call_t* call, const char* name) {
  json_object_del(call->left, name);
  return json_object_get(call->args, name);
}

bool arg_has(const call_t* call, const char* name) { return json_object_get(call->args, name) != NULL; }

const json_t* arg_text(call_t* call, const char* name) {
  const json_t* value = arg_take(call, name);
  if (json_is_string(value)) return value;
  surprise(call->teller, "argument %s is missing or no text", name);
  return NULL;
}

int64_t arg_number(call_t* call, const char* name, int64_t otherwise) {
  const json_t* value = arg_take(call, name);
  if (value == NULL) return otherwise;
  if (!json_is_integer(value)) surprise(call->teller, "argument %s is no whole number", name);
  return json_integer_value(value);
}

double arg_real(call_t* call, const char* name) {
  const json_t* value = arg_take(call, name);
  if (!json_is_number(value)) surprise(call->teller, "argument %s is missing or no number", name);
  return json_number_value(value);
}

bool arg_flag(call_t* call, const char* name, bool otherwise) {
  const json_t* value = arg_take(call, name);
  if (value == NULL) return otherwise;
  if (!json_is_boolean(value)) surprise(call->teller, "argument %s is neither true nor false", name);
  return json_is_true(value);
}

uint32_t arg_mode(call_t* call, const char* name) {
  return arg_has(call, name) ? (uint32_t)strtoul(json_string_value(arg_text(call, name)), NULL, 8) : 0;
}

json_t* arg_list(call_t* call, const char* name) {
  json_t* value = arg_take(call, name);
  if (!json_is_array(value)) surprise(call->teller, "argument %s is missing or no list", name);
  return value;
}

json_t* arg_object(call_t* call, const char* name) {
  json_t* value = arg_take(call, name);
  if (value != NULL && !json_is_object(value)) surprise(call->teller, "argument %s is no object", name);
  return value;
}

static bool known_keys(teller_t* teller, const json_t* step) {
  static const char* const names[] = {"do", "args", "on", "save", "expect", "error", "within_ms"};
  const char* key;
  json_t* value;
  if (!json_is_object(step)) return surprise(teller, "a step must be an object");
  json_object_foreach((json_t*)step, key, value) {
    bool known = false;
    for (size_t i = 0; i < sizeof names / sizeof *names; ++i) known = known || strcmp(key, names[i]) == 0;
    if (!known) return surprise(teller, "unknown key %s in a step", key);
  }
  return true;
}

static bool expect(teller_t* teller, const char* what, const json_t* actual, json_t* matcher) {
  if (matches(teller, actual, matcher)) return true;
  char *is = shown(actual), *wanted = shown(matcher);
  surprise(teller, "%s is %s, wanted %s", what, is, wanted);
  free(is);
  free(wanted);
  return false;
}

static bool expect_fields(teller_t* teller, const char* what, const json_t* actual, json_t* wanted) {
  const char* name;
  json_t* matcher;
  json_object_foreach(wanted, name, matcher) {
    const json_t* field = json_object_get(actual, name);
    if (field == NULL) return surprise(teller, "%s has no field %s", what, name);
    if (!expect(teller, name, field, matcher)) return false;
  }
  return true;
}

static bool check(call_t* call, const json_t* step) {
  teller_t* teller = call->teller;
  json_t* error = json_object_get(step, "error");
  const char* save = json_string_value(json_object_get(step, "save"));
  if (teller->reason[0] != '\0') return false;
  const char* unknown = json_object_iter_key(json_object_iter(call->left));
  if (unknown != NULL) return surprise(teller, "unknown argument %s", unknown);
  if (error != NULL) {
    if (call->error == NULL) return surprise(teller, "it succeeded, wanted an error");
    if (json_is_string(error))
      return expect(teller, "the code of the error", json_object_get(call->error, "code"), error);
    return expect_fields(teller, "the error", call->error, error);
  }
  if (call->error != NULL) {
    return surprise(teller, "%s: %s", json_string_value(json_object_get(call->error, "code")),
                    json_string_value(json_object_get(call->error, "message")));
  }
  if (!expect_fields(teller, "the result", call->fields, json_object_get(step, "expect"))) return false;
  if (save != NULL) {
    scope_keep(&teller->scope, save, json_incref(call->fields), call->kind, call->object);
    call->object = NULL;
  }
  return true;
}

typedef struct branch {
  pthread_t thread;
  teller_t teller;
  json_t* steps;
} branch_t;

static void* run_branch(void* argument) {
  branch_t* branch = argument;
  run_steps(&branch->teller, branch->steps);
  scope_clear(&branch->teller.scope);
  return NULL;
}

static bool run_parallel(teller_t* teller, const json_t* step) {
  const json_t* args = json_object_get(step, "args");
  const json_t *branches = json_object_get(args, "branches"), *times_value = json_object_get(args, "times");
  const size_t times = times_value != NULL ? (size_t)json_integer_value(times_value) : 1;
  if (!json_is_array(branches) || json_object_size(args) != (times_value != NULL ? 2u : 1u))
    return surprise(teller, "bad arguments");
  const size_t count = json_array_size(branches) * times;
  branch_t* all = calloc(count, sizeof *all);
  if (all == NULL) abort();
  for (size_t i = 0; i < count; ++i) {
    all[i].teller.world = teller->world;
    all[i].teller.scope.around = &teller->scope;
    all[i].steps = json_array_get(branches, i / times);
    scope_keep(&all[i].teller.scope, "index", json_pack("{s:I}", "", (json_int_t)(i % times)), NULL, NULL);
    if (pthread_create(&all[i].thread, NULL, run_branch, &all[i]) != 0) abort();
  }
  for (size_t i = 0; i < count; ++i) {
    pthread_join(all[i].thread, NULL);
    if (all[i].teller.reason[0] != '\0') surprise(teller, "%s", all[i].teller.reason);
  }
  free(all);
  return teller->reason[0] == '\0';
}

static bool attempt(teller_t* teller, const json_t* step) {
  const char* operation = json_string_value(json_object_get(step, "do"));
  const char* on = json_string_value(json_object_get(step, "on"));
  if (operation == NULL) return surprise(teller, "a step without do");
  if (strcmp(operation, "parallel") == 0) return run_parallel(teller, step);
  json_t *none = json_object(), *args = json_object_get(step, "args");
  call_t call = {.teller = teller, .operation = operation, .on = on != NULL ? on : "box"};
  call.args = resolve(teller, args != NULL ? args : none);
  call.left = json_copy(call.args);
  if (teller->reason[0] == '\0') perform(&call);
  const bool good = check(&call, step);
  if (call.object != NULL) end_object(call.kind, call.object);
  json_decref(call.fields);
  json_decref(call.error);
  json_decref(call.left);
  json_decref(call.args);
  json_decref(none);
  return good;
}

static int64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

bool run_steps(teller_t* teller, json_t* steps) {
  size_t i;
  json_t* step;
  json_array_foreach(steps, i, step) {
    const int64_t deadline = now_ms() + json_integer_value(json_object_get(step, "within_ms"));
    while (!known_keys(teller, step) || !attempt(teller, step)) {
      if (now_ms() >= deadline) {
        char reason[sizeof teller->reason];
        snprintf(reason, sizeof reason, "%s", teller->reason);
        const char* operation = json_string_value(json_object_get(step, "do"));
        teller->reason[0] = '\0';
        return surprise(teller, "step %zu %s: %s", i + 1, operation != NULL ? operation : "?", reason);
      }
      teller->reason[0] = '\0';
      const struct timespec pause = {0, 10000000};
      nanosleep(&pause, NULL);
    }
  }
  return true;
}
