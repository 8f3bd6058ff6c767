/* scenario_runner_c [--environments a,b] [--filter prefix] <directory>: tells every story through the C interface. */
#define _XOPEN_SOURCE 700
#include <glob.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon.h"
#include "operations.h"

enum { kStorySeconds = 60 };

typedef struct counts {
  int ok, failed, skipped;
} counts_t;

static FILE* report;
static char running[128]; /* the story under way, for the watchdog */

static void line(const char* format, ...) __attribute__((format(printf, 1, 2)));
static void line(const char* format, ...) {
  char text[2400];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  for (char* c = text; *c != '\0'; ++c) {
    if (*c == '\n') *c = ' ';
  }
  printf("%s\n", text);
  fflush(stdout);
  if (report != NULL) {
    fprintf(report, "%s\n", text);
    fflush(report);
  }
}

/* A blocking call cannot be taken back: a story that hangs ends the program. */
static void too_long(int signal) {
  static const char text[] = " failed it takes longer than 60 s\n";
  (void)signal;
  for (int i = 0; i < 2; ++i) {
    const int fd = i == 0 ? STDOUT_FILENO : report != NULL ? fileno(report) : -1;
    if (fd >= 0 && (write(fd, running, strlen(running)) < 0 || write(fd, text, sizeof text - 1) < 0)) break;
  }
  _exit(1);
}

static bool applies(const json_t* story, const char* environment) {
  const json_t* all = json_object_get(story, "environments");
  size_t i;
  json_t* one;
  if (all == NULL) return true;
  json_array_foreach((json_t*)all, i, one) {
    if (strcmp(json_string_value(one), environment) == 0) return true;
  }
  return false;
}

static bool known_keys(teller_t* teller, const json_t* story) {
  static const char* const names[] = {"name", "about", "environments", "spec", "steps"};
  const char* key;
  json_t* value;
  json_object_foreach((json_t*)story, key, value) {
    bool known = false;
    for (size_t i = 0; i < sizeof names / sizeof *names; ++i) known = known || strcmp(key, names[i]) == 0;
    if (!known) return surprise(teller, "unknown key %s in a story", key);
  }
  return true;
}

static void tell(teller_t* teller, const json_t* story) {
  char scratch[64];
  make_directory(scratch);
  scope_keep(&teller->scope, "scratch", json_pack("{s:s}", "", scratch), NULL, NULL);
  json_t* spec = json_object_get(story, "spec");
  bool good = known_keys(teller, story);
  if (good && !json_is_null(spec)) {
    json_t* none = json_object();
    json_t* create = json_pack("[{s:s, s:s, s:O}]", "do", "create", "save", "box", "args", spec != NULL ? spec : none);
    good = run_steps(teller, create);
    json_decref(create);
    json_decref(none);
  }
  if (good) run_steps(teller, json_object_get(story, "steps"));
  scope_clear(&teller->scope);
  remove_directory(scratch);
}

static void run_file(const char* path, const char* filter, world_t* world, counts_t* counts) {
  json_error_t wrong;
  json_t* all = json_load_file(path, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &wrong);
  if (all == NULL || json_integer_value(json_object_get(all, "format")) != 1) {
    fprintf(stderr, "%s: %s\n", path, all == NULL ? wrong.text : "unknown format");
    exit(1);
  }
  size_t i;
  json_t* story;
  json_array_foreach(json_object_get(all, "stories"), i, story) {
    char name[80];
    snprintf(name, sizeof name, "%s.%s", json_string_value(json_object_get(all, "area")),
             json_string_value(json_object_get(story, "name")));
    if (strncmp(name, filter, strlen(filter)) != 0) continue;
    snprintf(running, sizeof running, "story %s %s", world->environment, name);
    if (!applies(story, world->environment)) {
      ++counts->skipped;
      line("%s skipped not for this environment", running);
      continue;
    }
    teller_t teller = {.world = world};
    alarm(kStorySeconds);
    tell(&teller, story);
    alarm(0);
    if (teller.reason[0] == '\0') {
      ++counts->ok;
      line("%s ok", running);
    } else {
      ++counts->failed;
      line("%s failed %s", running, teller.reason);
    }
  }
  json_decref(all);
}

static bool open_world(world_t* world, daemon_t* daemon, const char* state) {
  sbx_error* err = NULL;
  sbx_code code;
  if (strcmp(world->environment, "embedded") == 0) {
    sbx_runtime_options options = SBX_RUNTIME_OPTIONS_INIT;
    options.state_directory = (sbx_view){state, strlen(state)};
    code = sbx_runtime_open(&options, &world->runtime, &err);
  } else {
    if (!daemon_start(daemon)) return false;
    code = sbx_client_connect((sbx_view){daemon->url, strlen(daemon->url)}, NULL, &world->client, &err);
  }
  if (code != SBX_OK) fprintf(stderr, "%s\n", sbx_error_text(err).data);
  sbx_error_free(&err);
  return code == SBX_OK;
}

static bool run_environment(const char* environment, const char* directory, const char* filter) {
  world_t world = {.environment = environment, .sealed = strcmp(environment, "sealed") == 0};
  daemon_t daemon = {.pid = -1};
  counts_t counts = {0};
  char state[64], pattern[512];
  glob_t files;
  make_directory(state);
  snprintf(pattern, sizeof pattern, "%s/*.json", directory);
  if (!open_world(&world, &daemon, state) || glob(pattern, 0, NULL, &files) != 0) return false;
  for (size_t i = 0; i < files.gl_pathc; ++i) run_file(files.gl_pathv[i], filter, &world, &counts);
  globfree(&files);
  sbx_runtime_free(&world.runtime);
  sbx_client_free(&world.client);
  if (daemon.pid > 0) daemon_stop(&daemon);
  remove_directory(state);
  line("stories %s %d ok, %d failed, %d skipped", environment, counts.ok, counts.failed, counts.skipped);
  return counts.failed == 0 && counts.ok > 0;
}

int main(int argc, char** argv) {
  char environments[128] = "embedded,daemon,sealed";
  const char *filter = "", *directory = NULL, *path = getenv("SANDBOX_SCENARIO_REPORT");
  for (int i = 1; i < argc; ++i) {
    if (strcmp(argv[i], "--environments") == 0 && i + 1 < argc)
      snprintf(environments, sizeof environments, "%s", argv[++i]);
    else if (strcmp(argv[i], "--filter") == 0 && i + 1 < argc)
      filter = argv[++i];
    else
      directory = argv[i];
  }
  if (directory == NULL) {
    fprintf(stderr, "usage: %s [--environments embedded,daemon,sealed] [--filter prefix] <directory>\n", argv[0]);
    return 2;
  }
  if (path != NULL && (report = fopen(path, "w")) == NULL) {
    perror(path);
    return 1;
  }
  json_object_seed(0); /* once, before there are threads */
  struct sigaction alarmed = {.sa_handler = too_long};
  sigaction(SIGALRM, &alarmed, NULL);
  bool good = true;
  char* rest = NULL;
  for (char* environment = strtok_r(environments, ",", &rest); environment != NULL;
       environment = strtok_r(NULL, ",", &rest)) {
    good = run_environment(environment, directory, filter) && good;
  }
  if (report != NULL) fclose(report);
  return good ? 0 : 1;
}
