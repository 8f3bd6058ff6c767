#pragma once

#include "agent/operation.hpp"

/// A session in a stream of another session: protocol::Method::session. The same server logic, with operations of its
/// own; environment and idempotency keys are the agent's. Of the dialect v1: lib/agent/v1. With keep_ms, a resumable
/// session outlives the stream: lib/agent/resumable.hpp.
namespace sandbox::agent {

/// Errors: unsupported (dialect), resource_exhausted (deeper than Server::kMaxDepth).
Result<std::unique_ptr<Operation>> make_nested_session(Context context, ByteView params, std::string_view idempotency_key);

}  // namespace sandbox::agent
