/* A scratch sandboxd on a unix socket, and scratch directories. */
#ifndef SANDBOX_SCENARIOS_DAEMON_H
#define SANDBOX_SCENARIOS_DAEMON_H

#include <stdbool.h>
#include <sys/types.h>

typedef struct daemon {
  pid_t pid;
  char directory[64];
  char url[96];
} daemon_t;

/* Waits until it answers; false with a line on standard error. */
bool daemon_start(daemon_t* daemon);
void daemon_stop(daemon_t* daemon);

void make_directory(char path[64]);
/* With all that is in it; follows no symlinks. */
void remove_directory(const char* path);

#endif
