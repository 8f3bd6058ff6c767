#pragma once

#include <string>

#include <sandbox/process.hpp>

#include "command.hpp"
#include "program.hpp"
#include "text.hpp"

/// How a program ended, for people, for programs, and as an exit code: the same in run and exec.
namespace sbx {

/// "cause", "exit_code", "signal", "shell_code", "stdout", …: the fields of --json.
void add_outcome(Json& json, const sandbox::ExitStatus& status, const Followed& followed);

/// What a person wants to know beyond the output, one line each: timed out, out of memory, output dropped. `limits` says what
/// the limits were, where known.
struct KnownLimits {
  std::string timeout;
  sandbox::ByteCount memory;
};
void tell_outcome(const std::string& command, const sandbox::ExitStatus& status, const KnownLimits& limits);

/// 127 not found, 126 not executable, otherwise `own`.
int start_failure_code(const sandbox::Error& error, int own);

/// One line on standard error: "sbx exec: text".
void note(const std::string& command, const std::string& text);

}  // namespace sbx
