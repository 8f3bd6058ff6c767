#include <memory>

#include "commands/commands.hpp"
#include "connect.hpp"
#include "output.hpp"

namespace sbx::commands {

using sandbox::Error;
using sandbox::ErrorCode;
using sandbox::Result;

namespace {

struct RmValues {
  std::vector<std::string> ids;
  bool all = false;
};

Result<int> remove_all(Daemon& daemon, const RmValues& values, const Common& common) {
  auto ids = values.ids;
  if (values.all) {
    SANDBOX_TRY(const auto list, daemon.client.list());
    for (const auto& info : list) ids.push_back(info.id);
  }
  int code = 0;
  Json removed = Json::array();
  for (const auto& id : ids) {
    const auto done = daemon.client.remove(id);
    if (!done) {
      // With --all one that ended by itself meanwhile is no failure.
      if (values.all && done.error().code() == ErrorCode::not_found) {
        done.error().ignore("gone already");
        continue;
      }
      Common plain = common;
      plain.json = false;  // one JSON value on standard output, not one per failure
      code = fail(plain, done.error());
      continue;
    }
    removed.push(id);
    if (!common.json) print(id + "\n");
  }
  if (common.json) print_json(Json::object().add("removed", removed));
  return code;
}

}  // namespace

Command rm() {
  const auto values = std::make_shared<RmValues>();
  Command command;
  command.path = "rm";
  command.help = "Destroy sandboxes and print their ids";
  command.examples = "Examples:\n  sbx rm sbx-247bf1d3\n  sbx rm --all\n  sbx rm $(sbx ls -q -l team=red)\n";
  command.options = {
      {.names = "--all", .into = &values->all, .help = "All that this caller can see"},
      {.names = "ID", .into = &values->ids, .help = "sbx-…", .completes = Completes::sandboxes},
  };
  command.run = [values](const Common& common) {
    if (values->ids.empty() == !values->all) {
      return fail(common, Error(ErrorCode::invalid_argument, values->all ? "--all takes no ids" : "which ones? name their ids, or --all")),
             kUsage;
    }
    return with_daemon(common, [&](Daemon& daemon) { return remove_all(daemon, *values, common); });
  };
  return command;
}

}  // namespace sbx::commands
