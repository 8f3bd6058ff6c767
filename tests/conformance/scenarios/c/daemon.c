#define _XOPEN_SOURCE 700
#include "daemon.h"

#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <sandbox/c.h>

extern char** environ;

void make_directory(char path[64]) {
  strcpy(path, "/tmp/sandbox-scenario-c-XXXXXX");
  if (mkdtemp(path) == NULL) {
    perror(path);
    exit(1);
  }
}

static int remove_one(const char* path, const struct stat* info, int kind, struct FTW* where) {
  (void)info, (void)kind, (void)where;
  return remove(path), 0;
}

void remove_directory(const char* path) { nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT); }

static void pause_ms(long ms) {
  const struct timespec time = {ms / 1000, ms % 1000 * 1000000};
  nanosleep(&time, NULL);
}

static bool write_settings(const daemon_t* daemon, const char* path) {
  FILE* file = fopen(path, "w");
  if (file == NULL) return false;
  fprintf(file,
          "[server]\nsocket = \"%s/d.sock\"\ndata_dir = \"%s/data\"\n[limits]\nmax_sandboxes = 400\nmax_memory = "
          "\"4096g\"\nmax_cpu = 4096.0\n"
          "create_rate_limit = 0\nallow_host_paths = true\n",
          daemon->directory, daemon->directory);
  return fclose(file) == 0;
}

bool daemon_start(daemon_t* daemon) {
  const char* bin = getenv("SANDBOX_BIN_DIR");
  char program[512], settings[128], log[128];
  make_directory(daemon->directory);
  snprintf(daemon->url, sizeof daemon->url, "unix://%s/d.sock", daemon->directory);
  snprintf(program, sizeof program, "%s/sandboxd", bin != NULL ? bin : ".");
  snprintf(settings, sizeof settings, "%s/config.toml", daemon->directory);
  snprintf(log, sizeof log, "%s/log", daemon->directory);
  char* arguments[] = {program, "--config", settings, NULL};
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&files, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0600);
  posix_spawn_file_actions_adddup2(&files, 1, 2);
  const bool started =
      write_settings(daemon, settings) && posix_spawn(&daemon->pid, program, &files, NULL, arguments, environ) == 0;
  posix_spawn_file_actions_destroy(&files);
  for (int i = 0; started && i < 3000; ++i) {
    sbx_client* client = NULL;
    if (sbx_client_connect((sbx_view){daemon->url, strlen(daemon->url)}, NULL, &client, NULL) == SBX_OK) {
      sbx_client_free(&client);
      return true;
    }
    if (waitpid(daemon->pid, NULL, WNOHANG) == daemon->pid) break;
    pause_ms(10);
  }
  fprintf(stderr, "%s does not start; set SANDBOX_BIN_DIR; see %s\n", program, log);
  return false;
}

void daemon_stop(daemon_t* daemon) {
  kill(daemon->pid, SIGTERM);
  for (int i = 0; i < 2000 && waitpid(daemon->pid, NULL, WNOHANG) != daemon->pid; ++i) {
    if (i == 1999) kill(daemon->pid, SIGKILL);
    pause_ms(10);
  }
  remove_directory(daemon->directory);
}
