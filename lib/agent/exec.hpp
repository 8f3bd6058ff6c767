#pragma once

#include "agent/operation.hpp"

/// Running programs for clients: protocol::Method::exec.
///
/// When an exec ends: the program has ended and nobody holds its output open any more, or, on a terminal, the program
/// has ended. A background process that keeps the output open therefore keeps the exec open, as with a shell pipe, until
/// it closes it, the timeout kills it, or the client cancels. Timeout and cancel kill every process of the exec, also
/// those that changed session or lost their parent (Children::kill_all); the outcome still says how the program itself
/// ended when it had ended before. Background processes that closed their output survive the exec.
namespace sandbox::agent {

/// Factory; see OperationFactory. Errors: invalid_argument (request), protocol (not an ExecRequest), and those of spawn().
Result<std::unique_ptr<Operation>> make_exec(Context context, ByteView params, std::string_view idempotency_key);

}  // namespace sandbox::agent
