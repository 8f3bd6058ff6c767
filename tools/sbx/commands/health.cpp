#include "commands/commands.hpp"
#include "connect.hpp"
#include "describe.hpp"
#include "output.hpp"

namespace sbx::commands {

using sandbox::Result;

Command health() {
  Command command;
  command.path = "health";
  command.help = "Whether the daemon is well, as JSON";
  command.examples = "Examples:\n  sbx health\n  sbx health --json | jq -e '.status == \"ok\"'\n";
  command.run = [](const Common& common) {
    return with_daemon(common, [&](Daemon& daemon) -> Result<int> {
      SANDBOX_TRY(const auto health, daemon.client.health());
      const auto text = to_json(health).str();
      print((common.json ? text : pretty_json(text)) + "\n");
      return health.status == "ok" ? 0 : kFailure;
    });
  };
  return command;
}

Command version() {
  Command command;
  command.path = "version";
  command.help = "The versions of sbx and of the daemon that answers";
  command.run = [](const Common& common) {
    std::string version, status;
    auto daemon = find_daemon(common, std::chrono::seconds(5));
    if (!daemon) return fail(common, daemon.error(), daemon_hint(common, daemon.error()));
    if (*daemon) {
      const auto health = (*daemon)->client.health();
      if (!health) return fail(common, health.error());
      version = health->version;
      status = health->status;
    }
    if (common.json) {
      Json json = Json::object().add("sbx", SANDBOX_VERSION_STRING);
      if (*daemon) json.add("endpoint", (*daemon)->endpoint).add("sandboxd", version).add("status", status);
      print_json(json);
      return 0;
    }
    std::string text = "sbx version " SANDBOX_VERSION_STRING "\n";
    if (!version.empty()) text += "sandboxd version " + printable(version) + "\n";
    if (!status.empty()) text += "status: " + printable(status) + "\n";
    return print(text) ? 0 : kFailure;
  };
  return command;
}

}  // namespace sbx::commands
