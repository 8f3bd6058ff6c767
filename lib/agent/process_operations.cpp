#include "agent/env.hpp"
#include "agent/exec.hpp"
#include "agent/nested.hpp"
#include "agent/operation.hpp"

namespace sandbox::agent {

OperationFactory process_operation(protocol::Method method) noexcept {
  using protocol::Method;
  switch (method) {
    case Method::exec: return &make_exec;
    case Method::env_get: return &make_env_get;
    case Method::env_set: return &make_env_set;
    case Method::env_unset: return &make_env_unset;
    case Method::env_list: return &make_env_list;
    case Method::session: return &make_nested_session;
    default: return nullptr;
  }
}

}  // namespace sandbox::agent
