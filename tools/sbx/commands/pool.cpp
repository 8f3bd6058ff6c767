#include <memory>

#include "commands/commands.hpp"
#include "connect.hpp"
#include "describe.hpp"
#include "output.hpp"

/// The warm pools of a daemon; its administrator's business, so only over its unix socket.
namespace sbx::commands {

using sandbox::Error;
using sandbox::ErrorCode;
using sandbox::Result;

namespace {

struct PoolValues {
  std::string profile;
  std::uint64_t count = 0;
};

int on_pools(const Common& common, const std::function<Result<int>(Daemon&)>& work) {
  auto daemon = need_daemon(common);
  if (!daemon) return fail(common, daemon.error(), daemon_hint(common, daemon.error()));
  const auto done = work(*daemon);
  if (done) return *done;
  const bool refused = done.error().code() == ErrorCode::permission_denied && !daemon->endpoint.starts_with("unix:");
  return fail(common, done.error(),
              refused ? "pools are for the unix socket: --endpoint unix:///var/run/sandboxd/sandboxd.sock on the daemon's machine"
                      : daemon_hint(common, done.error()));
}

void ok(const Common& common) {
  if (common.json) print_json(Json::object().add("status", "ok"));
  else print("ok\n");
}

Option profile_option(PoolValues& values) {
  return {
      .names = "PROFILE", .into = &values.profile, .help = "A profile of the daemon", .required = true, .completes = Completes::profiles};
}

}  // namespace

Command pool_status() {
  Command command;
  command.path = "pool status";
  command.help = "What is kept ready, hits and misses, as JSON";
  command.examples = "Examples:\n  sbx pool status\n  sbx pool status --json | jq '.[].ready'             the same in one line\n";
  command.run = [](const Common& common) {
    return on_pools(common, [&](Daemon& daemon) -> Result<int> {
      SANDBOX_TRY(const auto pools, daemon.client.pools());
      Json json = Json::array();
      for (const auto& pool : pools) json.push(to_json(pool));
      if (common.json) print_json(json);
      else print(pretty_json(json.str()) + "\n");
      return 0;
    });
  };
  return command;
}

Command pool_resize() {
  const auto values = std::make_shared<PoolValues>();
  Command command;
  command.path = "pool resize";
  command.help = "Keep N sandboxes of a profile ready, and wait until they are";
  command.examples = "Examples:\n  sbx pool resize default 16\n";
  command.options = {profile_option(*values), {.names = "N", .into = &values->count, .help = "How many", .required = true}};
  command.run = [values](const Common& common) {
    if (values->count > 1'000'000) return fail(common, Error(ErrorCode::invalid_argument, "N is larger than any host")), kUsage;
    return on_pools(common, [&](Daemon& daemon) -> Result<int> {
      SANDBOX_CHECK(daemon.client.set_warm(values->profile, static_cast<std::uint32_t>(values->count)));
      ok(common);
      return 0;
    });
  };
  return command;
}

Command pool_flush() {
  const auto values = std::make_shared<PoolValues>();
  Command command;
  command.path = "pool flush";
  command.help = "Make the ready sandboxes of a profile anew";
  command.examples = "Examples:\n  sbx pool flush default\n";
  command.options = {profile_option(*values)};
  command.run = [values](const Common& common) {
    return on_pools(common, [&](Daemon& daemon) -> Result<int> {
      SANDBOX_CHECK(daemon.client.flush(values->profile));
      ok(common);
      return 0;
    });
  };
  return command;
}

}  // namespace sbx::commands
