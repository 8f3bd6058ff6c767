#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "api/operation.hpp"

namespace sandbox::api {

Result<std::optional<std::string>> first_value(protocol::EnvEntries&& entries);
using GetVariable = Ask<protocol::EnvEntries, &first_value>;
Result<GetVariable> make_env_get(const std::string& name);
Result<Tell> make_env_set(const std::string& name, const std::string& value);
Result<Tell> make_env_unset(const std::string& name);
Result<std::vector<std::pair<std::string, std::string>>> to_pairs(protocol::EnvEntries&& entries);
using ListVariables = Ask<protocol::EnvEntries, &to_pairs>;
inline ListVariables make_env_list() { return ListVariables(protocol::Method::env_list, std::string()); }

}  // namespace sandbox::api
