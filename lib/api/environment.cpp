#include "api/environment.hpp"

#include <algorithm>

#include "api/arguments.hpp"

namespace sandbox::api {

Result<std::optional<std::string>> first_value(protocol::EnvEntries&& entries) {
  if (entries.entries.empty()) return std::optional<std::string>();
  return std::optional<std::string>(std::move(entries.entries.front().value));
}

Result<GetVariable> make_env_get(const std::string& name) {
  SANDBOX_CHECK(check_variable(name));
  protocol::EnvRequest request;
  request.name = name;
  return GetVariable(protocol::Method::env_get, protocol::encode(request));
}

Result<Tell> make_env_set(const std::string& name, const std::string& value) {
  SANDBOX_CHECK(check_variable(name, value));
  protocol::EnvEntries request;
  request.entries.push_back({name, value});
  return Tell(protocol::Method::env_set, protocol::encode(request));
}

Result<Tell> make_env_unset(const std::string& name) {
  SANDBOX_CHECK(check_variable(name));
  protocol::EnvRequest request;
  request.name = name;
  return Tell(protocol::Method::env_unset, protocol::encode(request));
}

Result<std::vector<std::pair<std::string, std::string>>> to_pairs(protocol::EnvEntries&& entries) {
  std::vector<std::pair<std::string, std::string>> pairs;
  pairs.reserve(entries.entries.size());
  for (auto& entry : entries.entries) pairs.emplace_back(std::move(entry.key), std::move(entry.value));
  std::sort(pairs.begin(), pairs.end());
  return pairs;
}
}  // namespace sandbox::api

namespace sandbox {

Result<std::optional<std::string>> Env::get(std::string name) {
  SANDBOX_TRY(auto call, api::make_env_get(name));
  return api::perform(*box_, call);
}

Result<void> Env::set(std::string name, std::string value) {
  SANDBOX_TRY(auto call, api::make_env_set(name, value));
  return api::perform(*box_, call);
}

Result<void> Env::unset(std::string name) {
  SANDBOX_TRY(auto call, api::make_env_unset(name));
  return api::perform(*box_, call);
}

Result<std::vector<std::pair<std::string, std::string>>> Env::list() {
  auto call = api::make_env_list();
  return api::perform(*box_, call);
}

}  // namespace sandbox
