#include "agent/env.hpp"

#include <utility>

#include "agent/server.hpp"

/// env_get, env_set, env_unset, env_list: each is answered at once, so the operation only carries the END.
namespace sandbox::agent {
namespace {

using protocol::EnvEntries;
using protocol::EnvRequest;

class EnvOperation final : public Operation {
 public:
  template <class Result>
  EnvOperation(Context context, const Result& result) : Operation(context) {
    finish(result);
  }
  void on_data(session::Channel channel, ByteView data, bool) override {
    this->context().session.consumed(this->context().stream, channel, data.size());
  }
};

template <class T>
Result<std::unique_ptr<Operation>> answer(Context context, const T& result) {
  return std::unique_ptr<Operation>(std::make_unique<EnvOperation>(context, result));
}

}  // namespace

Result<std::unique_ptr<Operation>> make_env_get(Context context, ByteView params, std::string_view) {
  SANDBOX_TRY(const auto request, protocol::decode<EnvRequest>(params));
  EnvEntries found;
  if (const auto value = context.server.agent().environment().find(request.name))
    found.entries.push_back({request.name, std::string(*value)});
  return answer(context, found);
}

Result<std::unique_ptr<Operation>> make_env_set(Context context, ByteView params, std::string_view) {
  SANDBOX_TRY(const auto request, protocol::decode<EnvEntries>(params));
  Environment& environment = context.server.agent().environment();
  // All or nothing: a refused entry must not leave half of the others behind.
  Environment changed = environment;
  for (const auto& [name, value] : request.entries) SANDBOX_CHECK(changed.set(name, value));
  environment = std::move(changed);
  return answer(context, protocol::Empty{});
}

Result<std::unique_ptr<Operation>> make_env_unset(Context context, ByteView params, std::string_view) {
  SANDBOX_TRY(const auto request, protocol::decode<EnvRequest>(params));
  context.server.agent().environment().unset(request.name);
  return answer(context, protocol::Empty{});
}

Result<std::unique_ptr<Operation>> make_env_list(Context context, ByteView, std::string_view) {
  EnvEntries all;
  for (const auto& entry : context.server.agent().environment().entries()) {
    const auto equals = entry.find('=');
    all.entries.push_back({entry.substr(0, equals), entry.substr(equals + 1)});
  }
  return answer(context, all);
}

}  // namespace sandbox::agent
