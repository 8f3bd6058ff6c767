#pragma once

#include "agent/operation.hpp"

/// A session in a stream of another session: protocol::Method::session. The same server logic, with operations of its
/// own; environment and idempotency keys are the agent's.
namespace sandbox::agent {

/// Errors: unsupported (dialect), resource_exhausted (deeper than Server::kMaxDepth).
Result<std::unique_ptr<Operation>> make_nested_session(Context context, ByteView params, std::string_view idempotency_key);

}  // namespace sandbox::agent
