#include <chrono>

#include "conformance/scenarios/operations.hpp"

namespace sandbox::scenarios {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

Command command_of(Arguments& args) {
  Command command = args.has("argv") ? Command::from_argv(args.texts("argv")) : Command(args.text("line"));
  for (auto& [name, value] : args.pairs("env")) command.env(name, value);
  if (args.flag("clear_env")) command.clear_env();
  if (args.has("workdir")) command.workdir(args.text("workdir"));
  if (args.has("timeout_ms")) command.timeout(milliseconds(args.number("timeout_ms")));
  if (args.has("max_output")) command.max_output(ByteCount(static_cast<std::uint64_t>(args.number("max_output"))));
  if (args.has("input")) command.stdin_text(args.text("input"));
  if (args.flag("merge_stderr")) command.merge_stderr();
  if (args.has("idempotency_key")) command.idempotency_key(args.text("idempotency_key"));
  return command;
}

Object status_fields(const ExitStatus& status) {
  return {{"cause", std::string(name(status.cause))},
          {"exit_code", status.exit_code},
          {"signal", status.signal},
          {"shell_code", status.shell_code()},
          {"core_dumped", status.core_dumped},
          {"oom_kills", status.oom_kills},
          {"stdout_bytes", status.stdout_bytes},
          {"stderr_bytes", status.stderr_bytes},
          {"stdout_dropped", status.stdout_dropped},
          {"stderr_dropped", status.stderr_dropped},
          {"wall_time_ns", static_cast<std::int64_t>(status.wall_time.count())},
          {"max_rss", status.max_rss.bytes()}};
}

Result<Object> exec(const Call& call) {
  Command command = command_of(call.args);
  call.args.finish();
  SANDBOX_TRY(const ExecResult result, call.object<Sandbox>().process().exec(std::move(command)));
  Object fields = status_fields(result);
  fields.emplace("stdout", std::string(result.stdout_text()));
  fields.emplace("stderr", std::string(result.stderr_text()));
  return fields;
}

Result<Object> spawn(const Call& call) {
  Command command = command_of(call.args);
  if (call.args.flag("open_input")) command.open_stdin();
  if (call.args.has("rows")) {
    command.pty({static_cast<std::uint16_t>(call.args.number("rows")),
                 static_cast<std::uint16_t>(call.args.number("columns"))});
  }
  call.args.finish();
  SANDBOX_TRY(RunningProcess process, call.object<Sandbox>().process().spawn(std::move(command)));
  Object fields = {{"pid", process.pid()}};
  call.made = std::make_shared<ProcessHandle>(std::move(process));
  return fields;
}

/// One read into the buffers; false at the end.
Result<bool> read_once(ProcessHandle& handle, Clock::time_point deadline) {
  const auto left = std::chrono::duration_cast<milliseconds>(deadline - Clock::now());
  SANDBOX_TRY(const auto chunk, handle.process.read_for(std::max(left, milliseconds(1))));
  if (!chunk) return false;
  (chunk->stream == OutputChunk::Stream::out ? handle.out : handle.err) += chunk->text();
  return true;
}

Result<Object> read_until(ProcessHandle& handle, Arguments& args) {
  const std::string text = args.text("text");
  const auto deadline = Clock::now() + milliseconds(args.number("timeout_ms", 10000));
  std::size_t at = 0;
  while ((at = handle.out.find(text)) == std::string::npos) {
    SANDBOX_TRY(const bool more, read_once(handle, deadline));
    if (!more) throw Surprise("the output ended before: " + Value(handle.out).shown());
  }
  Object fields = {{"stdout", handle.out.substr(0, at + text.size())}};
  handle.out.erase(0, at + text.size());
  return fields;
}

Result<Object> read_all(ProcessHandle& handle, Arguments& args) {
  const auto deadline = Clock::now() + milliseconds(args.number("timeout_ms", 10000));
  for (bool more = true; more;) {
    SANDBOX_TRY(more, read_once(handle, deadline));
  }
  return Object{{"stdout", std::exchange(handle.out, {})}, {"stderr", std::exchange(handle.err, {})}};
}

Result<Object> wait(ProcessHandle& handle, Arguments& args) {
  const milliseconds timeout(args.number("timeout_ms"));
  SANDBOX_TRY(const ExitStatus status, timeout.count() ? handle.process.wait_for(timeout) : handle.process.wait());
  return status_fields(status);
}

}  // namespace

std::optional<Result<Object>> perform_on_process(const Call& call) {
  if (call.operation == "exec") return exec(call);
  if (call.operation == "spawn") return spawn(call);
  if (!call.operation.starts_with("process.")) return std::nullopt;
  const std::string what = call.operation.substr(8);
  if (what == "free") {
    call.object<ProcessHandle>();
    call.scope.drop(call.on);
    return Object();
  }
  auto& handle = call.object<ProcessHandle>();
  RunningProcess& process = handle.process;
  if (what == "read_until") return read_until(handle, call.args);
  if (what == "read_all") return read_all(handle, call.args);
  if (what == "read") {
    const auto more = read_once(handle, Clock::now() + milliseconds(call.args.number("timeout_ms", 10000)));
    if (!more) return Result<Object>(more.error());
    return Object{{"end", !*more}};
  }
  if (what == "write") return plain(process.write(call.args.text("content")));
  if (what == "close_input") return plain(process.close_stdin());
  if (what == "kill") return plain(process.kill());
  if (what == "signal") return plain(process.signal(static_cast<int>(call.args.number("signal"))));
  if (what == "resize") {
    return plain(process.resize({static_cast<std::uint16_t>(call.args.number("rows")),
                                 static_cast<std::uint16_t>(call.args.number("columns"))}));
  }
  if (what == "wait") return wait(handle, call.args);
  return std::nullopt;
}

}  // namespace sandbox::scenarios
