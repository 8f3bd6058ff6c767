#pragma once

#include <optional>
#include <string>

#include "api/operation.hpp"

namespace sandbox::api {

Result<std::optional<std::string>> first_value(protocol::EnvEntries&& entries);
using GetVariable = Ask<protocol::EnvEntries, &first_value>;
Result<GetVariable> make_env_get(const std::string& name);
Result<Tell> make_env_set(const std::string& name, const std::string& value);

}  // namespace sandbox::api
