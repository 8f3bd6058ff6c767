#include "command.hpp"

#include <algorithm>

namespace sbx {

std::string Option::long_name() const {
  std::string_view rest = names;
  while (!rest.empty()) {
    const auto comma = rest.find(',');
    const auto name = rest.substr(0, comma);
    if (name.starts_with("--")) return std::string(name.substr(2));
    rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
  }
  return names.starts_with('-') ? names.substr(1) : std::string();
}

char Option::short_name() const {
  std::string_view rest = names;
  while (!rest.empty()) {
    const auto comma = rest.find(',');
    const auto name = rest.substr(0, comma);
    if (name.size() == 2 && name[0] == '-' && name[1] != '-') return name[1];
    rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
  }
  return 0;
}

const Command* CommandTable::find(std::string_view path) const {
  const auto found = std::ranges::find(commands, path, &Command::path);
  return found == commands.end() ? nullptr : &*found;
}

bool CommandTable::is_group(std::string_view name) const { return std::ranges::find(groups, name, &Group::name) != groups.end(); }

std::vector<Option> common_options(Common& common) {
  const std::string group = "For every command";
  return {
      {.names = "--endpoint",
       .into = &common.endpoint,
       .help = "The daemon to talk to: unix:///path, http://host:port, https://host:port (default: $SANDBOXD_ENDPOINT, else the local one)",
       .value = "URL",
       .group = group},
      {.names = "--embedded",
       .into = &common.embedded,
       .help = "No daemon: sandboxes of this process (run, host, tpl ls, tpl rm, tpl prune)",
       .group = group},
      {.names = "--json", .into = &common.json, .help = "For programs: JSON on standard output", .group = group},
      {.names = "--quiet,-q", .into = &common.quiet, .help = "No notes and no progress on standard error", .group = group},
      // Handled before the rest is looked at; listed for help and completion.
  };
}

}  // namespace sbx
