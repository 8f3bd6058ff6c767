#include <algorithm>
#include <memory>
#include <unistd.h>

#include "commands/commands.hpp"
#include "connect.hpp"
#include "describe.hpp"
#include "output.hpp"

namespace sbx::commands {

using sandbox::Result;

namespace {

struct LsValues {
  std::vector<std::string> labels;
  bool wide = false;
};

std::string joined(const sandbox::Labels& labels) {
  std::string result;
  for (const auto& [key, value] : labels) result += (result.empty() ? "" : ",") + key + "=" + value;
  return result;
}

void show(const std::vector<sandbox::SandboxInfo>& list, bool wide) {
  using Align = Table::Align;
  std::vector<Table::Column> columns = {{"ID"}, {"IMAGE"}, {"STATUS"}, {"CREATED"}};
  if (wide) columns.insert(columns.end(), {{"PROFILE"}, {"TTL", Align::right}, {"LABELS"}});
  Table table(std::move(columns));
  for (const auto& info : list) {
    std::vector<std::string> cells = {info.id, info.image, name(info.state), local_time(info.created)};
    if (wide) cells.insert(cells.end(), {info.profile, human_age(info.ttl), joined(info.labels)});
    table.add(std::move(cells));
  }
  print(table.str(has_colour(STDOUT_FILENO)));
}

Result<int> list_all(Daemon& daemon, const LsValues& values, const Common& common) {
  sandbox::Labels labels;
  for (const auto& text : values.labels) {
    const auto equals = text.find('=');
    if (equals == std::string::npos) {
      return sandbox::Error(sandbox::ErrorCode::invalid_argument, "--label '" + text + "': write KEY=VALUE");
    }
    labels[text.substr(0, equals)] = text.substr(equals + 1);
  }
  SANDBOX_TRY(auto list, daemon.client.list(labels));
  std::ranges::sort(list, [](const auto& a, const auto& b) { return std::tie(a.created, a.id) < std::tie(b.created, b.id); });
  if (common.json) {
    Json json = Json::array();
    for (const auto& info : list) json.push(to_json(info));
    print_json(json);
  } else if (common.quiet) {
    std::string text;
    for (const auto& info : list) text += printable(info.id) + "\n";
    print(text);
  } else {
    show(list, values.wide);
  }
  return 0;
}

}  // namespace

Command ls() {
  const auto values = std::make_shared<LsValues>();
  Command command;
  command.path = "ls";
  command.help = "List sandboxes";
  command.examples = "Examples:\n"
                     "  sbx ls\n"
                     "  sbx ls -q -l team=red                             only the ids\n"
                     "  sbx ls --json | jq -r '.[] | select(.state == \"disconnected\") | .id'\n";
  command.options = {
      {.names = "--label,-l", .into = &values->labels, .help = "Only those with this label", .value = "KEY=VALUE"},
      {.names = "--wide,-w", .into = &values->wide, .help = "Also profile, ttl and labels"},
  };
  command.run = [values](const Common& common) {
    return with_daemon(common, [&](Daemon& daemon) { return list_all(daemon, *values, common); });
  };
  return command;
}

}  // namespace sbx::commands
