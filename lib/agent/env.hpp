#pragma once

#include "agent/operation.hpp"

/// Variables of commands: protocol::Method::env_*. Changes hold for programs started later, in every session.
namespace sandbox::agent {

Result<std::unique_ptr<Operation>> make_env_get(Context context, ByteView params, std::string_view idempotency_key);
/// Sets all of EnvEntries or none. Errors: those of Environment::set.
Result<std::unique_ptr<Operation>> make_env_set(Context context, ByteView params, std::string_view idempotency_key);
Result<std::unique_ptr<Operation>> make_env_unset(Context context, ByteView params, std::string_view idempotency_key);
Result<std::unique_ptr<Operation>> make_env_list(Context context, ByteView params, std::string_view idempotency_key);

}  // namespace sandbox::agent
