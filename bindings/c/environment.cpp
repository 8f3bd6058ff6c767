#include <sandbox/env.hpp>

#include "arguments.hpp"
#include "handles.hpp"
#include "op.hpp"
#include "values.hpp"

using Variables = std::vector<std::pair<std::string, std::string>>;

struct sbx_env_list {
  explicit sbx_env_list(Variables content) : variables(std::move(content)) {}
  const Variables variables;
};

using namespace sandbox;
using namespace sandbox::c;

namespace {

using VariablesPtr = std::unique_ptr<sbx_env_list>;

BytesPtr value_of(std::optional<std::string> value) { return value ? own(*std::move(value)) : nullptr; }

}  // namespace

sbx_code sbx_env_get(sbx_sandbox* sandbox, sbx_view name, sbx_bytes** value, sbx_error** err) {
  return guard(err, value, [&]() -> Result<BytesPtr> {
    SANDBOX_TRY(const auto box, object(sandbox));
    SANDBOX_TRY(std::string key, text_of(name, "name"));
    SANDBOX_TRY(auto found, box->env().get(std::move(key)));
    return value_of(std::move(found));
  });
}
sbx_op* sbx_env_get_start(sbx_sandbox* sandbox, sbx_view name) {
  return start<BytesPtr>([&](const OpPtr<BytesPtr>& op) -> Result<void> {
    SANDBOX_TRY(const auto box, object(sandbox));
    SANDBOX_TRY(std::string key, text_of(name, "name"));
    box->env().async_get(std::move(key), OpToken{op, value_of});
    return {};
  });
}

sbx_code sbx_env_set(sbx_sandbox* sandbox, sbx_view name, sbx_view value, sbx_error** err) {
  return guard(err, [&]() -> Result<void> {
    SANDBOX_TRY(const auto box, object(sandbox));
    SANDBOX_TRY(std::string key, text_of(name, "name"));
    SANDBOX_TRY(std::string content, text_of(value, "value"));
    return box->env().set(std::move(key), std::move(content));
  });
}
sbx_op* sbx_env_set_start(sbx_sandbox* sandbox, sbx_view name, sbx_view value) {
  return start<Nothing>([&](const OpPtr<Nothing>& op) -> Result<void> {
    SANDBOX_TRY(const auto box, object(sandbox));
    SANDBOX_TRY(std::string key, text_of(name, "name"));
    SANDBOX_TRY(std::string content, text_of(value, "value"));
    box->env().async_set(std::move(key), std::move(content), ends(op));
    return {};
  });
}

sbx_code sbx_env_unset(sbx_sandbox* sandbox, sbx_view name, sbx_error** err) {
  return guard(err, [&]() -> Result<void> {
    SANDBOX_TRY(const auto box, object(sandbox));
    SANDBOX_TRY(std::string key, text_of(name, "name"));
    return box->env().unset(std::move(key));
  });
}
sbx_op* sbx_env_unset_start(sbx_sandbox* sandbox, sbx_view name) {
  return start<Nothing>([&](const OpPtr<Nothing>& op) -> Result<void> {
    SANDBOX_TRY(const auto box, object(sandbox));
    SANDBOX_TRY(std::string key, text_of(name, "name"));
    box->env().async_unset(std::move(key), ends(op));
    return {};
  });
}

sbx_code sbx_env_all(sbx_sandbox* sandbox, sbx_env_list** list, sbx_error** err) {
  return guard(err, list, [&]() -> Result<VariablesPtr> {
    SANDBOX_TRY(const auto box, object(sandbox));
    SANDBOX_TRY(auto variables, box->env().list());
    return std::make_unique<sbx_env_list>(std::move(variables));
  });
}
sbx_op* sbx_env_all_start(sbx_sandbox* sandbox) {
  return start<VariablesPtr>([&](const OpPtr<VariablesPtr>& op) -> Result<void> {
    SANDBOX_TRY(const auto box, object(sandbox));
    box->env().async_list(OpToken{op, [](Variables variables) { return std::make_unique<sbx_env_list>(std::move(variables)); }});
    return {};
  });
}
sbx_code sbx_op_take_env(sbx_op* op, sbx_env_list** list, sbx_error** err) { return take_handle(op, list, err); }

size_t sbx_env_list_size(const sbx_env_list* list) { return list ? list->variables.size() : 0; }
sbx_code sbx_env_list_at(const sbx_env_list* list, size_t index, sbx_pair* pair, sbx_error** err) {
  return guard(err, [&]() -> Result<void> {
    if (!list) return null_argument("list");
    if (!pair) return null_argument("pair");
    *pair = {view_of({}), view_of({})};
    if (index >= list->variables.size()) return bad_argument("index", "is beyond the end");
    const auto& [name, value] = list->variables[index];
    *pair = {view_of(name), view_of(value)};
    return {};
  });
}
void sbx_env_list_free(sbx_env_list** list) { free_value(list); }
