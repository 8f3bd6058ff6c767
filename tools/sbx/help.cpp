#include "help.hpp"

#include <algorithm>

namespace sbx {

namespace {

/// `text` at column `indent`, broken between words; the first line continues where the caller is.
std::string wrapped(std::string_view text, std::size_t indent, std::size_t width) {
  std::string result;
  const std::size_t room = std::max<std::size_t>(20, width > indent ? width - indent : 0);
  std::size_t column = 0;
  while (!text.empty()) {
    const auto space = text.find(' ');
    const auto word = text.substr(0, space);
    text = space == std::string_view::npos ? std::string_view() : text.substr(space + 1);
    if (column != 0 && column + 1 + word.size() > room) {
      result += '\n' + std::string(indent, ' ');
      column = 0;
    }
    if (column != 0) {
      result += ' ';
      ++column;
    }
    result += word;
    column += word.size();
  }
  return result;
}

/// Two columns: names, and what they mean.
std::string two_columns(const std::vector<std::pair<std::string, std::string>>& rows, std::size_t width) {
  std::size_t left = 0;
  for (const auto& [name, help] : rows) {
    if (name.size() <= 26) left = std::max(left, name.size());
  }
  std::string result;
  for (const auto& [name, help] : rows) {
    result += "  " + name;
    if (name.size() > left) result += '\n' + std::string(left + 4, ' ');
    else result += std::string(left - name.size() + 2, ' ');
    result += wrapped(help, left + 4, width) + '\n';
  }
  return result;
}

std::string left_side(const Option& option) {
  const char short_name = option.short_name();
  const auto long_name = option.names.find("--") == std::string::npos ? std::string() : option.long_name();
  std::string result = short_name != 0 ? std::string("-") + short_name : "  ";
  if (!long_name.empty()) result += (short_name != 0 ? ", --" : "  --") + long_name;
  if (!option.is_flag()) result += " " + (option.value.empty() ? "VALUE" : option.value);
  return result;
}

std::string option_groups(const std::vector<Option>& options, std::size_t width) {
  std::vector<std::string> groups;
  for (const auto& option : options) {
    if (!option.is_positional() && std::ranges::find(groups, option.group) == groups.end()) groups.push_back(option.group);
  }
  std::string result;
  for (const auto& group : groups) {
    std::vector<std::pair<std::string, std::string>> rows;
    for (const auto& option : options) {
      if (option.is_positional() || option.group != group) continue;
      auto help = option.help;
      if (option.is_list()) help += " (repeatable)";
      rows.emplace_back(left_side(option), std::move(help));
    }
    result += "\n" + (group.empty() ? "Options" : group) + ":\n" + two_columns(rows, width);
  }
  return result;
}

std::string overview(const CommandTable& table, std::size_t width) {
  std::string result = "sbx runs untrusted commands in isolated sandboxes, by a sandboxd or in this process.\n\n"
                       "Usage: sbx COMMAND [options] [arguments]\n\nCommands:\n";
  std::vector<std::pair<std::string, std::string>> rows;
  for (const auto& command : table.commands) {
    if (command.hidden) continue;
    if (const auto space = command.path.find(' '); space != std::string::npos) {
      const auto group = command.path.substr(0, space);
      if (std::ranges::any_of(rows, [&](const auto& row) { return row.first.starts_with(group + " "); })) continue;
      std::string names;
      for (const auto& other : table.commands) {
        if (other.path.starts_with(group + " ")) names += (names.empty() ? "" : "|") + other.path.substr(space + 1);
      }
      const auto found = std::ranges::find(table.groups, group, &Group::name);
      rows.emplace_back(group + " " + names, found == table.groups.end() ? "" : found->help);
    } else {
      rows.emplace_back(command.path, command.help);
    }
  }
  result += two_columns(rows, width);
  result += "\n`sbx COMMAND --help` tells the rest, with examples.\n"
            "\nEnvironment: SANDBOXD_ENDPOINT (the daemon), SBX_AUTH (its bearer token), NO_COLOR.\n"
            "Exit codes: 0 done; 1 failed, the reason is on standard error; 2 wrong option or argument;\n"
            "exec, attach and run: the program's own, 128+N when signal N ended it, 124 timed out.\n";
  return result;
}

}  // namespace

std::string usage_line(const Command& command) {
  std::string result = "sbx " + command.path;
  if (std::ranges::any_of(command.options, [](const Option& option) { return !option.is_positional(); })) result += " [options]";
  for (const auto& option : command.options) {
    if (!option.is_positional()) continue;
    const auto name = option.names + (option.is_list() ? "…" : "");
    result += option.required ? " " + name : " [" + name + "]";
  }
  if (command.rest != nullptr) result += " " + command.rest_name;
  return result;
}

std::string help_text(const CommandTable& table, const std::vector<Option>& common, std::string_view path, std::size_t width) {
  if (path.empty()) return overview(table, width);
  if (const auto* command = table.find(path)) {
    std::string result = command->help + ".\n\nUsage: " + usage_line(*command) + "\n";
    std::vector<std::pair<std::string, std::string>> rows;
    for (const auto& option : command->options) {
      if (option.is_positional()) rows.emplace_back(option.names, option.help);
    }
    if (!rows.empty()) result += "\n" + two_columns(rows, width);
    result += option_groups(command->options, width) + option_groups(common, width);
    if (!command->examples.empty()) result += "\n" + command->examples;
    return result;
  }
  std::string result;
  for (const auto& group : table.groups) {
    if (group.name == path) result += group.help + ".\n\nUsage: sbx " + group.name + " COMMAND [options] [arguments]\n\nCommands:\n";
  }
  std::vector<std::pair<std::string, std::string>> rows;
  for (const auto& command : table.commands) {
    if (!command.hidden && command.path.starts_with(std::string(path) + " ")) {
      rows.emplace_back(usage_line(command).substr(4), command.help);
    }
  }
  return result + two_columns(rows, width);
}

}  // namespace sbx
