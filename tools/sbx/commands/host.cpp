#include <cstdio>

#include <sandbox/runtime.hpp>

#include "commands/commands.hpp"
#include "output.hpp"

namespace sbx::commands {

namespace {

int show_host(const Common& common) {
  auto runtime = sandbox::Runtime::open(sandbox::RuntimeOptions().launchers(1));
  auto report = runtime ? runtime->host() : sandbox::Result<sandbox::HostReport>(std::move(runtime).error());
  if (!report) return fail(common, report.error());
  if (common.json) {
    Json enforced = Json::array(), unenforced = Json::array();
    for (const auto& line : report->enforced) enforced.push(line);
    for (const auto& line : report->unenforced) unenforced.push(line);
    print_json(Json::object().add("backend", report->backend).add("rootless", report->rootless)
                   .add("enforced", enforced).add("unenforced", unenforced));
    return 0;
  }
  std::printf("backend: %s%s\n", report->backend.c_str(), report->rootless ? ", rootless" : "");
  std::printf("enforced here:\n");
  for (const auto& line : report->enforced) std::printf("  + %s\n", line.c_str());
  if (report->unenforced.empty()) {
    std::printf("not enforced here: nothing; every lock and limit is in force\n");
  } else {
    std::printf("not enforced here (a sandbox is refused unless --allow-unenforced-limits):\n");
    for (const auto& line : report->unenforced) std::printf("  - %s\n", line.c_str());
  }
  return 0;
}

}  // namespace

Command host() {
  Command command;
  command.path = "host";
  command.help = "What this host enforces, measured (by this process, not by a daemon)";
  command.examples = "Examples:\n  sbx host\n  sbx host --json | jq .unenforced\n";
  command.run = show_host;
  return command;
}

}  // namespace sbx::commands
