#pragma once

#include "agent/operation.hpp"

namespace sandbox::agent::v1 {

/// A stream that carries a client of the v1 dialect, as frames on `in` and `out`: protocol::Method::session. When it ends
/// the client is detached and everything it started goes on; when another such stream comes, this one ends with success.
Result<std::unique_ptr<Operation>> make_stream(Context context, const protocol::SessionRequest& request);

}  // namespace sandbox::agent::v1
