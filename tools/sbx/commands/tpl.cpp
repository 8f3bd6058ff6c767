#include <memory>
#include <optional>
#include <unistd.h>

#include <sandbox/runtime.hpp>

#include "commands/commands.hpp"
#include "connect.hpp"
#include "describe.hpp"
#include "output.hpp"
#include "parse.hpp"

/// Templates of the daemon; without one, those of this user's state directory.
namespace sbx::commands {

using sandbox::Result;

namespace {

struct TplValues {
  std::string id, label, unused_for;
  std::vector<std::string> ids;
  bool wide = false, dry_run = false;
};

/// Where templates are kept: exactly one of the two.
struct Keeper {
  std::optional<Daemon> daemon;
  std::optional<sandbox::Runtime> runtime;
};

Result<Keeper> find_keeper(const Common& common) {
  Keeper keeper;
  SANDBOX_TRY(keeper.daemon, find_daemon(common));
  if (!keeper.daemon) {
    SANDBOX_TRY(keeper.runtime, sandbox::Runtime::open(sandbox::RuntimeOptions().launchers(1)));
  }
  return keeper;
}

template <class Info>
void show(const std::vector<Info>& list, bool wide) {
  using Align = Table::Align;
  std::vector<Table::Column> columns = {{"ID"}, {"LABEL"}, {"IMAGE"}};
  if (wide) columns.insert(columns.end(), {{"SIZE", Align::right}, {"CREATED"}});
  Table table(std::move(columns));
  for (const auto& info : list) {
    std::vector<std::string> cells = {info.id, info.label, info.image.to_string()};
    if (wide) cells.insert(cells.end(), {column_size(info.size.bytes()), local_time(info.created)});
    table.add(std::move(cells));
  }
  print(table.str(has_colour(STDOUT_FILENO)));
}

template <class Info>
void tell(const std::vector<Info>& list, const Common& common, bool wide) {
  if (common.json) {
    Json json = Json::array();
    for (const auto& info : list) json.push(to_json(info));
    print_json(json);
  } else if (common.quiet) {
    std::string text;
    for (const auto& info : list) text += info.id + "\n";
    print(text);
  } else {
    show(list, wide);
  }
}

Result<int> list_all(const Common& common, bool wide) {
  SANDBOX_TRY(auto keeper, find_keeper(common));
  if (keeper.daemon) {
    SANDBOX_TRY(const auto list, keeper.daemon->client.templates());
    tell(list, common, wide);
  } else {
    SANDBOX_TRY(const auto list, keeper.runtime->templates());
    tell(list, common, wide);
  }
  return 0;
}

Result<int> remove(const Common& common, const std::vector<std::string>& ids) {
  SANDBOX_TRY(auto keeper, find_keeper(common));
  int code = 0;
  Json removed = Json::array();
  for (const auto& id : ids) {
    const auto done = keeper.daemon ? keeper.daemon->client.remove_template(id) : keeper.runtime->remove_template(id);
    if (!done) {
      Common plain = common;
      plain.json = false;
      code = fail(plain, done.error());
      continue;
    }
    removed.push(id);
    if (!common.json) print(id + "\n");
  }
  if (common.json) print_json(Json::object().add("removed", removed));
  return code;
}

/// Of this user's state directory, whether a daemon runs here or not: that prunes its own, by itself.
Result<int> prune(const Common& common, const TplValues& values) {
  if (names_daemon(common))
    return sandbox::Error(sandbox::ErrorCode::invalid_argument,
                          "a daemon prunes its own layers by itself; --embedded, without --endpoint, prunes those of this user's state directory");
  sandbox::PruneOptions options;
  options.dry_run = values.dry_run;
  if (!values.unused_for.empty() && values.unused_for != "0") {
    SANDBOX_TRY(const auto time, parse_duration(values.unused_for));
    options.unused_for = std::chrono::ceil<std::chrono::seconds>(time);
  } else if (!values.unused_for.empty()) {
    options.unused_for = std::chrono::seconds(0);
  }
  SANDBOX_TRY(auto runtime, sandbox::Runtime::open(sandbox::RuntimeOptions().launchers(1).prune_after(std::chrono::seconds(0))));
  SANDBOX_TRY(const auto layers, runtime.prune(options));
  std::uint64_t total = 0;
  for (const auto& layer : layers) total += layer.size.bytes();
  if (common.json) {
    Json list = Json::array();
    for (const auto& layer : layers)
      list.push(Json::object().add("digest", layer.digest).add("size", layer.size.bytes()).add("last_used", utc_time(layer.last_used)));
    print_json(Json::object().add("dry_run", values.dry_run).add("layers", list).add("size", total));
  } else if (common.quiet) {
    std::string text;
    for (const auto& layer : layers) text += layer.digest + "\n";
    print(text);
  } else {
    Table table({{"LAYER"}, {"SIZE", Table::Align::right}, {"LAST USED"}});
    for (const auto& layer : layers) table.add({layer.digest.substr(0, 16), column_size(layer.size.bytes()), local_time(layer.last_used)});
    print(table.str(has_colour(STDOUT_FILENO)));
    print(std::to_string(layers.size()) + (values.dry_run ? " to remove, " : " removed, ") + column_size(total) + "\n");
  }
  return 0;
}

int told(const Common& common, const Result<int>& done) {
  return done ? *done : fail(common, done.error(), daemon_hint(common, done.error()));
}

}  // namespace

Command tpl_save() {
  const auto values = std::make_shared<TplValues>();
  Command command;
  command.path = "tpl save";
  command.help = "Save everything writable of a sandbox as a template and print its id";
  command.examples = "Examples:\n  sbx tpl save --label tools sbx-247bf1d3\n";
  command.options = {
      {.names = "--label,-l", .into = &values->label, .help = "What people call it (default: its id)", .value = "LABEL"},
      {.names = "ID",
       .into = &values->id,
       .help = "sbx-…; it is frozen meanwhile and then goes on",
       .required = true,
       .completes = Completes::sandboxes},
  };
  command.run = [values](const Common& common) {
    return with_daemon(common, [&](Daemon& daemon) -> Result<int> {
      SANDBOX_TRY(auto box, daemon.client.open(values->id));
      SANDBOX_TRY(const auto info, box.save_template(values->label));
      if (common.json) print_json(to_json(info));
      else print(info.id + "\n");
      return 0;
    });
  };
  return command;
}

Command tpl_ls() {
  const auto values = std::make_shared<TplValues>();
  Command command;
  command.path = "tpl ls";
  command.help = "List templates";
  command.examples =
      "Examples:\n  sbx tpl ls\n  sbx tpl ls --wide\n  sbx tpl ls --embedded                             those `sbx run --embedded` "
      "saved\n";
  command.options = {{.names = "--wide,-w", .into = &values->wide, .help = "Also size and time"}};
  command.run = [values](const Common& common) { return told(common, list_all(common, values->wide)); };
  return command;
}

Command tpl_rm() {
  const auto values = std::make_shared<TplValues>();
  Command command;
  command.path = "tpl rm";
  command.help = "Remove templates and print their ids";
  command.examples = "Examples:\n  sbx tpl rm tpl-59e91508\n";
  command.options = {{.names = "ID", .into = &values->ids, .help = "tpl-…", .required = true, .completes = Completes::templates}};
  command.run = [values](const Common& common) { return told(common, remove(common, values->ids)); };
  return command;
}

Command tpl_prune() {
  const auto values = std::make_shared<TplValues>();
  Command command;
  command.path = "tpl prune";
  command.help = "Remove unpacked layers of this user's state directory that no template, sandbox or process uses";
  command.examples =
      "Examples:\n  sbx tpl prune --dry-run\n  sbx tpl prune --unused-for 0                      all that nothing uses now\n";
  command.options = {
      {.names = "--unused-for", .into = &values->unused_for, .help = "How long nothing must have used them (default: 168h)", .value = "TIME"},
      {.names = "--dry-run,-n", .into = &values->dry_run, .help = "Only tell which"},
  };
  command.run = [values](const Common& common) { return told(common, prune(common, *values)); };
  return command;
}

}  // namespace sbx::commands
