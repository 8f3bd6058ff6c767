#include <memory>

#include "commands/commands.hpp"
#include "connect.hpp"
#include "describe.hpp"
#include "outcome.hpp"
#include "output.hpp"
#include "parse.hpp"

namespace sbx::commands {

using sandbox::Error;
using sandbox::ErrorCode;
using sandbox::Result;

namespace {

struct CreateValues {
  std::string profile, from_template, memory, storage, ttl;
  double cpu = 0;
  std::vector<std::string> labels;
};

/// How long a sandbox made by hand waits for the next command when nothing was asked for.
constexpr std::chrono::seconds kTtl = std::chrono::hours(1);

Result<sandbox::CreateRequest> make_request(const CreateValues& values) {
  sandbox::CreateRequest request;
  request.ttl(kTtl);
  if (!values.profile.empty()) request.profile(values.profile);
  if (!values.from_template.empty()) request.from_template(values.from_template);
  if (!values.memory.empty()) {
    SANDBOX_TRY(const auto amount, parse_size(values.memory));
    request.memory(amount);
  }
  if (!values.storage.empty()) {
    SANDBOX_TRY(const auto amount, parse_size(values.storage));
    request.storage(amount);
  }
  if (values.cpu > 0) request.cpus(values.cpu);
  if (values.ttl == "0") {
    return Error(ErrorCode::invalid_argument,
                 "--ttl 0: such a sandbox ends with its first session, which is this command's; sbx run does that");
  }
  if (!values.ttl.empty()) {
    SANDBOX_TRY(const auto time, parse_duration(values.ttl));
    request.ttl(std::chrono::ceil<std::chrono::seconds>(time));
  }
  for (const auto& text : values.labels) {
    const auto equals = text.find('=');
    if (equals == std::string::npos || equals == 0) return Error(ErrorCode::invalid_argument, "--label '" + text + "': write KEY=VALUE");
    request.label(text.substr(0, equals), text.substr(equals + 1));
  }
  return request;
}

Result<int> make(Daemon& daemon, const sandbox::CreateRequest& request, const Common& common) {
  auto created = daemon.client.create(request);
  if (!created) {
    // The daemon says "profile not found"; which one, the caller may have typed three lines ago.
    const auto asked = !request.from_template().empty() ? request.from_template() : request.profile();
    return asked.empty() ? std::move(created).error() : std::move(created).error().with_context(asked);
  }
  sandbox::Sandbox box = *std::move(created);
  const std::string id = box.id();
  if (!common.quiet && !common.json) {
    for (const auto& line : box.unenforced()) note(common.command, "not enforced on the daemon's host: " + line);
  }
  Json json = Json::object().add("id", id);
  if (common.json) {
    SANDBOX_TRY(const auto info, daemon.client.find(id));
    json = to_json(info);
  }
  SANDBOX_CHECK(box.detach());
  if (common.json) print_json(json);
  else print(id + "\n");
  return 0;
}

}  // namespace

Command create() {
  const auto values = std::make_shared<CreateValues>();
  Command command;
  command.path = "create";
  command.help = "Make a sandbox and print its id";
  command.examples = "Examples:\n"
                     "  id=$(sbx create)                                  the daemon's profile \"default\"; it lives until sbx rm, or one\n"
                     "                                                    hour after the last command used it\n"
                     "  sbx create --template tpl-59e91508 --memory 1g -l team=red -l run=17\n"
                     "  sbx create --ttl 10m --cpu 0.5\n";
  command.options = {
      {.names = "--profile",
       .into = &values->profile,
       .help = "A profile of the daemon (default \"default\")",
       .value = "NAME",
       .completes = Completes::profiles},
      {.names = "--template",
       .into = &values->from_template,
       .help = "A saved template",
       .value = "tpl-…",
       .completes = Completes::templates},
      {.names = "--memory,-m", .into = &values->memory, .help = "RAM and writable files together, e.g. 512m", .value = "SIZE"},
      {.names = "--cpu", .into = &values->cpu, .help = "CPU cores' worth of time", .value = "N"},
      {.names = "--storage", .into = &values->storage, .help = "Bytes in writable directories", .value = "SIZE"},
      {.names = "--ttl",
       .into = &values->ttl,
       .help = "How long it waits for its next command (seconds, or 10m, 2h; default 1h)",
       .value = "TIME"},
      {.names = "--label,-l", .into = &values->labels, .help = "A label to find it by", .value = "KEY=VALUE"},
  };
  command.run = [values](const Common& common) {
    auto request = make_request(*values);
    if (!request) return fail(common, request.error()), kUsage;
    return with_daemon(common, [&](Daemon& daemon) { return make(daemon, *request, common); });
  };
  return command;
}

}  // namespace sbx::commands
