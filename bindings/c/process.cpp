#include <sandbox/process.hpp>

#include "arguments.hpp"
#include "handles.hpp"
#include "op.hpp"
#include "values.hpp"

/// The result keeps its texts with a NUL behind them.
struct sbx_exec_result {
  explicit sbx_exec_result(sandbox::ExecResult ended)
      : result(std::move(ended)), out(std::move(result.stdout_bytes_kept)), err(std::move(result.stderr_bytes_kept)) {}
  sandbox::ExecResult result;
  const sbx_bytes out, err;
};

static_assert(static_cast<int>(sandbox::ExitCause::exited) == SBX_EXITED);
static_assert(static_cast<int>(sandbox::ExitCause::cancelled) == SBX_KILLED);

using namespace sandbox;
using namespace sandbox::c;

namespace {

using ExecPtr = std::unique_ptr<sbx_exec_result>;
using ProcessPtr = std::unique_ptr<sbx_process>;

struct Output {
  int stream = 0;
  BytesPtr bytes;
};

Output output_of(std::optional<OutputChunk> chunk) {
  if (!chunk) return {};
  return {chunk->stream == OutputChunk::Stream::err ? 2 : 1, own(std::move(chunk->bytes))};
}

void fill_status(sbx_exit_status* out, const ExitStatus& status) {
  sbx_exit_status told SBX_EXIT_STATUS_INIT;
  told.cause = static_cast<sbx_exit_cause>(status.cause);
  told.exit_code = status.exit_code;
  told.signal = status.signal;
  told.core_dumped = status.core_dumped;
  told.oom_kills = status.oom_kills;
  told.stdout_bytes = status.stdout_bytes;
  told.stderr_bytes = status.stderr_bytes;
  told.stdout_dropped = status.stdout_dropped;
  told.stderr_dropped = status.stderr_dropped;
  told.wall_time_ns = static_cast<uint64_t>(status.wall_time.count());
  told.user_time_ns = static_cast<uint64_t>(status.user_time.count());
  told.system_time_ns = static_cast<uint64_t>(status.system_time.count());
  told.max_rss = status.max_rss.bytes();
  fill(out, told);
}

Result<RunningProcess*> running(sbx_process* process) {
  if (!process) return null_argument("process");
  SANDBOX_CHECK(process->usable());
  return &process->stream;
}

/// A call on a running program that does not wait.
template <class Action>
sbx_code control(sbx_process* process, sbx_error** err, Action&& action) {
  return guard(err, [&]() -> Result<void> {
    SANDBOX_TRY(RunningProcess* const program, running(process));
    return action(*program);
  });
}

}  // namespace

int sbx_exit_status_shell_code(const sbx_exit_status* status) {
  if (!status) return -1;
  if (number_of(status->cause) == SBX_EXITED) return status->exit_code;
  return number_of(status->cause) == SBX_TIMED_OUT ? 124 : 128 + status->signal;
}

const char* sbx_exit_cause_name(sbx_exit_cause cause) {
  const int number = static_cast<int>(cause);
  if (number < SBX_EXITED || number > SBX_KILLED) return "unknown";
  return sandbox::name(static_cast<ExitCause>(number)).data();  // of a literal: ends with a NUL
}

sbx_code sbx_exec(sbx_sandbox* sandbox, const sbx_command* command, sbx_exec_result** result, sbx_error** err) {
  return guard(err, result, [&]() -> Result<ExecPtr> {
    SANDBOX_TRY(const auto box, object(sandbox));
    SANDBOX_TRY(Command program, command_of(command));
    SANDBOX_TRY(ExecResult ended, box->process().exec(std::move(program)));
    return std::make_unique<sbx_exec_result>(std::move(ended));
  });
}
sbx_op* sbx_exec_start(sbx_sandbox* sandbox, const sbx_command* command) {
  return start<ExecPtr>([&](const OpPtr<ExecPtr>& op) -> Result<void> {
    SANDBOX_TRY(const auto box, object(sandbox));
    SANDBOX_TRY(Command program, command_of(command));
    box->process().async_exec(std::move(program),
                              OpToken{op, [](ExecResult ended) { return std::make_unique<sbx_exec_result>(std::move(ended)); }});
    return {};
  });
}
sbx_code sbx_op_take_exec(sbx_op* op, sbx_exec_result** result, sbx_error** err) { return take_handle(op, result, err); }
void sbx_exec_result_status(const sbx_exec_result* result, sbx_exit_status* status) {
  guard(nullptr, [&]() -> Result<void> {
    if (!result) return null_argument("result");
    SANDBOX_CHECK(check_out(status, "status"));
    return fill_status(status, result->result), Result<void>();
  });
}
sbx_view sbx_exec_result_stdout(const sbx_exec_result* result) { return result ? result->out.view() : view_of({}); }
sbx_view sbx_exec_result_stderr(const sbx_exec_result* result) { return result ? result->err.view() : view_of({}); }
void sbx_exec_result_free(sbx_exec_result** result) { free_value(result); }

sbx_code sbx_spawn(sbx_sandbox* sandbox, const sbx_command* command, sbx_process** process, sbx_error** err) {
  return guard(err, process, [&]() -> Result<ProcessPtr> {
    SANDBOX_TRY(const auto box, object(sandbox));
    SANDBOX_TRY(Command program, command_of(command));
    SANDBOX_TRY(RunningProcess started, box->process().spawn(std::move(program)));
    return std::make_unique<sbx_process>(std::move(started));
  });
}
sbx_op* sbx_spawn_start(sbx_sandbox* sandbox, const sbx_command* command) {
  return start<ProcessPtr>([&](const OpPtr<ProcessPtr>& op) -> Result<void> {
    SANDBOX_TRY(const auto box, object(sandbox));
    SANDBOX_TRY(Command program, command_of(command));
    box->process().async_spawn(std::move(program),
                               OpToken{op, [](RunningProcess started) { return std::make_unique<sbx_process>(std::move(started)); }});
    return {};
  });
}
sbx_code sbx_op_take_process(sbx_op* op, sbx_process** process, sbx_error** err) { return take_handle(op, process, err); }
uint32_t sbx_process_pid(const sbx_process* process) { return process ? process->stream.pid() : 0; }

sbx_code sbx_process_read(sbx_process* process, int64_t timeout_ms, int* stream, sbx_bytes** bytes, sbx_error** err) {
  if (stream) *stream = 0;
  return guard(err, bytes, [&]() -> Result<BytesPtr> {
    if (!stream) return null_argument("stream");
    SANDBOX_TRY(const auto timeout, time_of(timeout_ms, std::chrono::milliseconds(0)));
    SANDBOX_TRY(RunningProcess* const program, running(process));
    SANDBOX_TRY(auto chunk, timeout_ms == 0 ? program->read() : program->read_for(timeout));
    Output output = output_of(std::move(chunk));
    *stream = output.stream;
    return std::move(output.bytes);
  });
}
sbx_op* sbx_process_read_start(sbx_process* process) {
  return start<Output>([&](const OpPtr<Output>& op) -> Result<void> {
    SANDBOX_TRY(RunningProcess* const program, running(process));
    program->async_read(OpToken{op, output_of});
    return {};
  });
}
sbx_code sbx_op_take_output(sbx_op* op, int* stream, sbx_bytes** bytes, sbx_error** err) {
  if (stream) *stream = 0;
  if (bytes) *bytes = nullptr;
  return take<Output>(op, err, stream && bytes, [&](Output output) {
    *stream = output.stream;
    *bytes = output.bytes.release();
  });
}

sbx_code sbx_process_write(sbx_process* process, sbx_view bytes, sbx_error** err) {
  return control(process, err, [&](RunningProcess& program) -> Result<void> {
    SANDBOX_TRY(const ByteView content, bytes_of(bytes, "bytes"));
    return program.write(content);
  });
}
sbx_op* sbx_process_write_start(sbx_process* process, sbx_view bytes) {
  return start<Nothing>([&](const OpPtr<Nothing>& op) -> Result<void> {
    SANDBOX_TRY(RunningProcess* const program, running(process));
    SANDBOX_TRY(const ByteView content, bytes_of(bytes, "bytes"));
    program->async_write(Bytes(content.begin(), content.end()), ends(op));
    return {};
  });
}
sbx_code sbx_process_close_input(sbx_process* process, sbx_error** err) {
  return control(process, err, [](RunningProcess& program) { return program.close_stdin(); });
}
sbx_code sbx_process_signal(sbx_process* process, int signal, sbx_error** err) {
  return control(process, err, [&](RunningProcess& program) { return program.signal(signal); });
}
sbx_code sbx_process_resize(sbx_process* process, uint16_t rows, uint16_t columns, sbx_error** err) {
  return control(process, err, [&](RunningProcess& program) { return program.resize(TerminalSize{rows, columns}); });
}
sbx_code sbx_process_kill(sbx_process* process, sbx_error** err) {
  return control(process, err, [](RunningProcess& program) { return program.kill(); });
}

sbx_code sbx_process_wait(sbx_process* process, int64_t timeout_ms, sbx_exit_status* status, sbx_error** err) {
  return control(process, err, [&](RunningProcess& program) -> Result<void> {
    SANDBOX_CHECK(check_out(status, "status"));
    SANDBOX_TRY(const auto timeout, time_of(timeout_ms, std::chrono::milliseconds(0)));
    SANDBOX_TRY(const ExitStatus ended, timeout_ms == 0 ? program.wait() : program.wait_for(timeout));
    return fill_status(status, ended), Result<void>();
  });
}
sbx_op* sbx_process_wait_start(sbx_process* process) {
  return start<ExitStatus>([&](const OpPtr<ExitStatus>& op) -> Result<void> {
    SANDBOX_TRY(RunningProcess* const program, running(process));
    program->async_wait(OpToken{op, [](ExitStatus status) { return status; }});
    return {};
  });
}
sbx_code sbx_op_take_status(sbx_op* op, sbx_exit_status* status, sbx_error** err) {
  return take_struct<ExitStatus>(op, err, status, "status", fill_status);
}
void sbx_process_close(sbx_process* process) {
  if (process) process->close();
}
void sbx_process_free(sbx_process** process) { free_handle(process); }
