/* Walks the whole interface once, as a user would: embedded, or with an endpoint against a daemon.
 *
 * usage: walk [ENDPOINT] */
#include "walk.h"

#define PART(call)                \
  do {                            \
    fprintf(stderr, "%s\n", #call); \
    call;                         \
  } while (0)

int main(int argc, char **argv) {
  world here;
  world_open(&here, argc > 1 ? argv[1] : NULL);
  sbx_sandbox *box = world_create(&here);
  PART(walk_programs(box));
  PART(walk_files(box));
  PART(walk_file_streams(box));
  PART(walk_environment(box));
  PART(walk_ports(box));
  sbx_sandbox_free(&box);
  CHECK(box == NULL);
  sbx_sandbox_free(&box); /* null is fine */
  PART(walk_sandbox(&here));
  if (here.client) PART(walk_client(&here));
  else PART(walk_runtime(&here));
  if (!here.client) PART(walk_prune());
  world_close(&here);
  return 0;
}
