/* The parts of the walk through the interface; each leaves the sandbox as it found it, but for its files. */
#ifndef SANDBOX_TESTS_C_WALK_H
#define SANDBOX_TESTS_C_WALK_H

#include "check.h"

void walk_programs(sbx_sandbox *box);
void walk_files(sbx_sandbox *box);
void walk_file_streams(sbx_sandbox *box);
void walk_environment(sbx_sandbox *box);
void walk_ports(sbx_sandbox *box);
void walk_sandbox(world *here);
void walk_runtime(world *here);
void walk_prune(void);
void walk_client(world *here);

#endif
