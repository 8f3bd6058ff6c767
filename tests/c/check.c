#define _GNU_SOURCE
#include "check.h"

#include <dirent.h>
#include <ftw.h>
#include <time.h>
#include <unistd.h>

void make_state(char *path, size_t size) {
  const char *base = getenv("TMPDIR");
  snprintf(path, size, "%s/sandbox-c-XXXXXX", base && *base ? base : "/tmp");
  CHECK(mkdtemp(path) != NULL);
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *where) {
  (void)info, (void)type, (void)where;
  return remove(path);
}
void remove_state(const char *path) { nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS); }

int64_t now_ms(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

void sleep_ms(int ms) {
  const struct timespec time = {ms / 1000, (long)(ms % 1000) * 1000000};
  nanosleep(&time, NULL);
}

static int entries(const char *path) {
  DIR *directory = opendir(path);
  CHECK(directory != NULL);
  int count = 0;
  while (readdir(directory)) ++count;
  closedir(directory);
  return count;
}
int open_descriptors(void) { return entries("/proc/self/fd"); }
int thread_count(void) { return entries("/proc/self/task"); }

long resident_kib(void) {
  FILE *file = fopen("/proc/self/statm", "r");
  long total = 0, resident = 0;
  CHECK(file && fscanf(file, "%ld %ld", &total, &resident) == 2);
  fclose(file);
  return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

void world_open(world *here, const char *endpoint) {
  memset(here, 0, sizeof *here);
  if (endpoint) {
    OK(sbx_client_connect(text(endpoint), NULL, &here->client, &err));
    return;
  }
  make_state(here->state, sizeof here->state);
  sbx_runtime_options options = SBX_RUNTIME_OPTIONS_INIT;
  options.state_directory = text(here->state);
  OK(sbx_runtime_open(&options, &here->runtime, &err));
}

void world_close(world *here) {
  sbx_client_free(&here->client);
  sbx_runtime_free(&here->runtime);
  CHECK(!here->client && !here->runtime);
  if (here->state[0]) remove_state(here->state);
}

sbx_sandbox *world_create(world *here) {
  sbx_sandbox *box = NULL;
  if (here->client) OK(sbx_client_create(here->client, NULL, NULL, &box, &err));
  else OK(sbx_runtime_create(here->runtime, NULL, NULL, &box, &err));
  CHECK(box != NULL);
  return box;
}

sbx_op *world_create_start(world *here) {
  return here->client ? sbx_client_create_start(here->client, NULL, NULL) : sbx_runtime_create_start(here->runtime, NULL, NULL);
}
