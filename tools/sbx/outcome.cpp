#include "outcome.hpp"

#include <cerrno>
#include <chrono>
#include <cstdio>

namespace sbx {

void add_outcome(Json& json, const sandbox::ExitStatus& status, const Followed& followed) {
  const auto ms = [](std::chrono::nanoseconds time) { return std::chrono::duration<double, std::milli>(time).count(); };
  json.add("cause", sandbox::name(status.cause));
  if (status.cause == sandbox::ExitCause::exited) json.add("exit_code", status.exit_code).add_null("signal");
  else json.add_null("exit_code").add("signal", status.signal);
  json.add("shell_code", status.shell_code());
  json.add_bytes("stdout", followed.out).add_bytes("stderr", followed.err);
  json.add("stdout_bytes", status.stdout_bytes).add("stderr_bytes", status.stderr_bytes);
  json.add("stdout_dropped", status.stdout_dropped).add("stderr_dropped", status.stderr_dropped);
  json.add("oom_kills", status.oom_kills).add("core_dumped", status.core_dumped);
  json.add("wall_ms", ms(status.wall_time)).add("user_ms", ms(status.user_time)).add("system_ms", ms(status.system_time));
  json.add("max_rss", status.max_rss.bytes());
}

void tell_outcome(const std::string& command, const sandbox::ExitStatus& status, const KnownLimits& limits) {
  switch (status.cause) {
    case sandbox::ExitCause::timed_out:
      note(command, "timed out" + (limits.timeout.empty() ? "" : " after " + limits.timeout) + ", killed");
      break;
    case sandbox::ExitCause::out_of_memory:
      note(command, "out of memory: killed at the limit" + (limits.memory.bytes() == 0 ? "" : " of " + human_size(limits.memory.bytes())) +
                        " (--memory)");
      break;
    case sandbox::ExitCause::limit_hit: note(command, "a limit was hit, signal " + std::to_string(status.signal)); break;
    case sandbox::ExitCause::signalled:
    case sandbox::ExitCause::exited:
    case sandbox::ExitCause::cancelled: break;
  }
  if (const auto dropped = status.stdout_dropped + status.stderr_dropped; dropped != 0) {
    note(command, human_size(dropped) + " of output dropped (--max-output)");
  }
}

int start_failure_code(const sandbox::Error& error, int own) {
  if (error.code() == sandbox::ErrorCode::permission_denied || error.sys_errno() == EACCES || error.sys_errno() == ENOEXEC)
    return kNotExecutable;
  return error.code() == sandbox::ErrorCode::not_found ? kNotFound : own;
}

void note(const std::string& command, const std::string& text) { std::fprintf(stderr, "sbx %s: %s\n", command.c_str(), text.c_str()); }

}  // namespace sbx
