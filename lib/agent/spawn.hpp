#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>

#include <sandbox/result.hpp>

namespace sandbox::agent {

/// One program to start. Strings and arrays live for the call.
struct SpawnRequest {
  const char* program = nullptr;        ///< absolute, or relative to `workdir`
  char* const* arguments = nullptr;     ///< null-terminated
  char* const* environment = nullptr;   ///< null-terminated
  const char* workdir = nullptr;
  int input = -1, output = -1, error = -1;  ///< become 0, 1 and 2; each at least 3; may be equal
  bool terminal = false;                ///< `input` becomes the controlling terminal
  std::uint64_t mark = 0;               ///< soft RLIMIT_LOCKS (see Lineage); 0: left as it is
  std::uint64_t mark_limit = 0;         ///< the hard one
  std::uint64_t open_files = 0;         ///< RLIMIT_NOFILE, soft and hard; 0: the caller's own
};

/// Starts a program in a new session with empty signal mask and no other descriptors.
///
/// vfork-like: the caller sleeps until the program was loaded, so that a failure to do so is this call's error and costs
/// no pipe. The calling process must have no signal handlers (the child shares its memory until then).
/// Errors: operation "exec.workdir" (not_found, permission_denied, …), "exec.program" (likewise), "exec.fork" and
/// "exec.setup" (resource_exhausted).
Result<pid_t> spawn(const SpawnRequest& request);

/// Where `name` is found along `path` (colon-separated, empty: a default), as execvp(3) would. Names with a slash are
/// returned as they are. Errors: not_found, permission_denied.
Result<std::string> find_program(const std::string& name, std::string_view path, const std::string& workdir);

}  // namespace sandbox::agent
