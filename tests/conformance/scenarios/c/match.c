#define _POSIX_C_SOURCE 200809L
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "story.h"

bool surprise(teller_t* teller, const char* format, ...) {
  if (teller->reason[0] == '\0') {
    va_list args;
    va_start(args, format);
    vsnprintf(teller->reason, sizeof teller->reason, format, args);
    va_end(args);
  }
  return false;
}

char* shown(const json_t* value) {
  char* text = NULL;
  if (json_is_string(value)) {
    const size_t size = json_string_length(value), kept = size < 80 ? size : 80;
    text = malloc(kept + 40);
    if (text == NULL) abort();
    char* out = text;
    *out++ = '"';
    for (size_t i = 0; i < kept; ++i) {
      const unsigned char c = (unsigned char)json_string_value(value)[i];
      *out++ = c < 0x20 || c == 0x7f ? '.' : (char)c;
    }
    snprintf(out, 40, size > kept ? "\" (%zu bytes)" : "\"", size);
    return text;
  }
  text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
  if (text == NULL) return strdup("a value with bytes that are no text");
  if (strlen(text) > 400) strcpy(text + 397, "...");
  return text;
}

static bool is_generator(const json_t* object) {
  static const char* const names[] = {"$", "join", "base64", "repeat", "numbered"};
  for (size_t i = 0; i < sizeof names / sizeof *names; ++i) {
    if (json_object_get(object, names[i]) != NULL) return true;
  }
  return false;
}

static json_t* look_up(teller_t* teller, const char* reference) {
  char name[64];
  const char* dot = strchr(reference, '.');
  const size_t size = dot != NULL ? (size_t)(dot - reference) : strlen(reference);
  snprintf(name, sizeof name, "%.*s", (int)(size < 63 ? size : 63), reference);
  const saved_t* saved = scope_find(&teller->scope, name);
  json_t* field = saved != NULL ? json_object_get(saved->fields, dot != NULL ? dot + 1 : "") : NULL;
  if (field == NULL) surprise(teller, "nothing is known as %s", reference);
  return json_incref(field);
}

/* A growing piece of bytes; becomes a JSON string at the end. */
typedef struct bytes {
  char* data;
  size_t size, room;
} bytes_t;

static void put(bytes_t* bytes, const char* data, size_t size) {
  if (bytes->size + size > bytes->room) {
    bytes->room = (bytes->size + size) * 2;
    bytes->data = realloc(bytes->data, bytes->room);
    if (bytes->data == NULL) abort();
  }
  if (size > 0) memcpy(bytes->data + bytes->size, data, size);
  bytes->size += size;
}

static json_t* taken(bytes_t* bytes) {
  json_t* text = json_stringn_nocheck(bytes->data != NULL ? bytes->data : "", bytes->size);
  free(bytes->data);
  return text;
}

static json_t* joined(teller_t* teller, const json_t* parts) {
  bytes_t bytes = {0};
  size_t i;
  json_t* part;
  json_array_foreach((json_t*)parts, i, part) {
    json_t* value = resolve(teller, part);
    if (json_is_string(value)) {
      put(&bytes, json_string_value(value), json_string_length(value));
    } else if (json_is_integer(value)) {
      char digits[32];
      put(&bytes, digits, (size_t)snprintf(digits, sizeof digits, "%" JSON_INTEGER_FORMAT, json_integer_value(value)));
    } else {
      surprise(teller, "join takes strings and whole numbers");
    }
    json_decref(value);
  }
  return taken(&bytes);
}

static json_t* decoded(teller_t* teller, const char* text) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  bytes_t bytes = {0};
  uint32_t bits = 0;
  int have = 0;
  for (; *text != '\0' && *text != '='; ++text) {
    const char* digit = strchr(digits, *text);
    if (digit == NULL) surprise(teller, "bad base64");
    bits = bits << 6 | (uint32_t)((digit != NULL ? digit : digits) - digits);
    if ((have += 6) >= 8) {
      const char byte = (char)(bits >> (have -= 8) & 0xff);
      put(&bytes, &byte, 1);
    }
  }
  return taken(&bytes);
}

static json_t* generated(teller_t* teller, const json_t* object) {
  bytes_t bytes = {0};
  const json_t* value = NULL;
  if ((value = json_object_get(object, "$")) != NULL && json_object_size(object) == 1)
    return look_up(teller, json_string_value(value));
  if ((value = json_object_get(object, "join")) != NULL && json_object_size(object) == 1) return joined(teller, value);
  if ((value = json_object_get(object, "base64")) != NULL && json_object_size(object) == 1)
    return decoded(teller, json_string_value(value));
  if ((value = json_object_get(object, "numbered")) != NULL && json_object_size(object) == 1) {
    for (json_int_t i = 0; i < json_integer_value(value); ++i) {
      char line[32];
      snprintf(line, sizeof line, "%015" JSON_INTEGER_FORMAT "\n", i);
      put(&bytes, line, 16);
    }
    return taken(&bytes);
  }
  const json_t* times = json_object_get(object, "times");
  if ((value = json_object_get(object, "repeat")) != NULL && times != NULL && json_object_size(object) == 2) {
    for (json_int_t i = 0; i < json_integer_value(times); ++i)
      put(&bytes, json_string_value(value), json_string_length(value));
    return taken(&bytes);
  }
  surprise(teller, "unknown keys in a value");
  return NULL;
}

json_t* resolve(teller_t* teller, const json_t* value) {
  if (json_is_array(value)) {
    json_t *out = json_array(), *item;
    size_t i;
    json_array_foreach((json_t*)value, i, item) {
      json_t* made = resolve(teller, item);
      if (made != NULL) json_array_append_new(out, made);
    }
    return out;
  }
  if (!json_is_object(value)) return json_incref((json_t*)value);
  if (is_generator(value)) return generated(teller, value);
  json_t *out = json_object(), *item;
  const char* key;
  json_object_foreach((json_t*)value, key, item) {
    json_t* made = resolve(teller, item);
    if (made != NULL) json_object_set_new_nocheck(out, key, made);
  }
  return out;
}

static bool matches_fields(teller_t* teller, const json_t* actual, json_t* wanted) {
  const char* name;
  json_t* matcher;
  json_object_foreach(wanted, name, matcher) {
    const json_t* field = json_object_get(actual, name);
    if (field == NULL) return surprise(teller, "there is no field %s", name);
    if (!matches(teller, field, matcher)) return false;
  }
  return true;
}

static bool any(teller_t* teller, const json_t* list, const json_t* actual, json_t* matcher) {
  size_t i;
  json_t* item;
  json_array_foreach((json_t*)list, i, item) {
    if (matcher != NULL ? matches(teller, item, matcher) : matches(teller, actual, item)) return true;
  }
  return false;
}

static bool has_text(const json_t* actual, const json_t* wanted, const char* condition) {
  if (!json_is_string(actual) || !json_is_string(wanted)) return false;
  const char *text = json_string_value(actual), *part = json_string_value(wanted);
  const size_t size = json_string_length(actual), part_size = json_string_length(wanted);
  if (size < part_size) return false;
  if (strcmp(condition, "starts_with") == 0) return memcmp(text, part, part_size) == 0;
  if (strcmp(condition, "ends_with") == 0) return memcmp(text + size - part_size, part, part_size) == 0;
  for (size_t at = 0; at + part_size <= size; ++at) {
    if (memcmp(text + at, part, part_size) == 0) return true;
  }
  return false;
}

static bool holds(teller_t* teller, const char* condition, const json_t* actual, json_t* wanted) {
  if (strcmp(condition, "not") == 0) return !matches(teller, actual, wanted);
  if (strcmp(condition, "fields") == 0) return json_is_object(actual) && matches_fields(teller, actual, wanted);
  if (strcmp(condition, "has") == 0) return json_is_array(actual) && any(teller, actual, NULL, wanted);
  if (strcmp(condition, "one_of") == 0) return any(teller, wanted, actual, NULL);
  if (strcmp(condition, "size") == 0) {
    if (!json_is_string(actual) && !json_is_array(actual)) return false;
    json_t* size =
        json_integer((json_int_t)(json_is_string(actual) ? json_string_length(actual) : json_array_size(actual)));
    const bool fits = matches(teller, size, wanted);
    json_decref(size);
    return fits;
  }
  json_t* value = resolve(teller, wanted);
  bool fits = false;
  if (strcmp(condition, "equals") == 0) {
    fits = json_equal(actual, value);
  } else if (strcmp(condition, "at_least") == 0) {
    fits = json_is_integer(actual) && json_is_integer(value) && json_integer_value(actual) >= json_integer_value(value);
  } else if (strcmp(condition, "at_most") == 0) {
    fits = json_is_integer(actual) && json_is_integer(value) && json_integer_value(actual) <= json_integer_value(value);
  } else if (strcmp(condition, "contains") == 0 || strcmp(condition, "starts_with") == 0 ||
             strcmp(condition, "ends_with") == 0) {
    fits = has_text(actual, value, condition);
  } else {
    surprise(teller, "unknown condition %s", condition);
  }
  json_decref(value);
  return fits;
}

bool matches(teller_t* teller, const json_t* actual, json_t* matcher) {
  if (json_is_array(matcher)) {
    if (!json_is_array(actual) || json_array_size(actual) != json_array_size(matcher)) return false;
    for (size_t i = 0; i < json_array_size(matcher); ++i) {
      if (!matches(teller, json_array_get(actual, i), json_array_get(matcher, i))) return false;
    }
    return true;
  }
  if (!json_is_object(matcher)) return json_equal(actual, matcher);
  if (is_generator(matcher)) {
    json_t* value = resolve(teller, matcher);
    const bool same = json_equal(actual, value);
    json_decref(value);
    return same;
  }
  if (json_object_size(matcher) == 0) return surprise(teller, "a matcher without conditions");
  const char* condition;
  json_t* wanted;
  bool all = true;
  json_object_foreach(matcher, condition, wanted) {
    if (!holds(teller, condition, actual, wanted)) all = false;
  }
  return all;
}
