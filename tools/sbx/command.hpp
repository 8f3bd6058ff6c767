#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

/// What a command of sbx is: one table from which arguments are parsed, help is printed and completions are made.
namespace sbx {

/// Exit codes that are about sbx and not about a program inside.
inline constexpr int kFailure = 1;       ///< anything that did not work; the reason is on standard error
inline constexpr int kUsage = 2;         ///< a wrong option or argument; nothing was done
inline constexpr int kRunFailure = 125;  ///< `sbx run` instead of both: 1 and 2 are the program's there
inline constexpr int kNotExecutable = 126;
inline constexpr int kNotFound = 127;

/// What may stand in a place, for shell completion.
enum class Completes : std::uint8_t { nothing, files, directories, sandboxes, templates, profiles, words };

/// One option, or one positional argument. `into` stays owned by the command and outlives parsing.
struct Option {
  using Target = std::variant<bool*, std::string*, double*, std::uint64_t*, std::vector<std::string>*>;

  std::string names;             ///< "--label,-l"; for a positional argument its name in help, "ID"
  Target into;                   ///< bool: a flag. vector: repeatable (as the last positional: all the rest)
  std::string help;
  std::string value = {};        ///< what help calls the value: "SIZE"
  std::string group = {};        ///< heading in help; empty: "Options"
  bool required = false;         ///< positional arguments only
  Completes completes = Completes::nothing;
  std::vector<std::string> words = {};  ///< the choices of Completes::words; anything else is refused

  bool is_flag() const { return std::holds_alternative<bool*>(into); }
  bool is_positional() const { return !names.starts_with('-'); }
  bool is_list() const { return std::holds_alternative<std::vector<std::string>*>(into); }
  /// "label" for "--label,-l"; the option's short name without a long one.
  std::string long_name() const;
  /// 'l' for "--label,-l", or 0.
  char short_name() const;
};

/// Options every command has; where a command cannot do something with one of them it says so.
struct Common {
  std::string endpoint;   ///< --endpoint; empty: look for a daemon
  bool embedded = false;  ///< never a daemon
  bool json = false;
  bool quiet = false;
  std::string command;    ///< path of the running command, for messages
};

/// One command. A value; `run` holds what the options were parsed into.
struct Command {
  std::string path;      ///< "fs read"
  std::string help;      ///< one line
  std::string examples;  ///< lines shown below the options
  std::vector<Option> options;
  /// Where set: what follows the positional arguments is a program's command line, taken as it is, options included.
  std::vector<std::string>* rest = nullptr;
  bool* separated = nullptr;  ///< whether a `--` stood before it
  std::string rest_name = "CMD…";
  bool hidden = false;
  int usage_code = kUsage;
  std::function<int(const Common&)> run;
};

/// "fs" and what it is about.
struct Group {
  std::string name;
  std::string help;
};

struct CommandTable {
  std::vector<Group> groups;
  std::vector<Command> commands;

  const Command* find(std::string_view path) const;
  bool is_group(std::string_view name) const;
};

/// --endpoint, --embedded, --json, -q.
std::vector<Option> common_options(Common& common);

}  // namespace sbx
