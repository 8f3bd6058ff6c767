#include <atomic>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <optional>
#include <unistd.h>

#include "commands/commands.hpp"
#include "connect.hpp"
#include "describe.hpp"
#include "outcome.hpp"
#include "output.hpp"
#include "signals.hpp"

namespace sbx::commands {

using sandbox::Error;
using sandbox::ErrorCode;
using sandbox::Result;

namespace {

struct EventsValues {
  std::string since, sandbox;
  bool past_only = false;
};

/// False when nobody reads any more.
bool show(const sandbox::ServiceEvent& event, const EventsValues& values, const Common& common) {
  if (!values.sandbox.empty() && event.sandbox_id != values.sandbox) return true;
  if (common.json) return print(to_json(event).str() + "\n");
  std::string line =
      local_time(event.time) + "  #" + std::to_string(event.id) + "  " + printable(event.type) + "  " + printable(event.sandbox_id);
  if (!event.identity.empty()) line += "  " + printable(event.identity);
  if (!event.data.empty()) line += "  " + printable(event.data);
  return print(line + "\n");
}

Result<int> follow(Daemon& daemon, const EventsValues& values, std::optional<std::uint64_t> after, const Common& common) {
  SANDBOX_TRY(auto stream, daemon.client.events(after));
  std::atomic<int> interrupted{0};
  SANDBOX_TRY(const auto signals, Signals::start([&](int signal) {
    if (signal == SIGWINCH) return;
    interrupted = signal;
    stream.cancel();
  }));
  bool told_gap = false;
  while (true) {
    const auto event = stream.next();
    if (!event) {
      if (interrupted == 0) return event.error();
      event.error().ignore("asked for");
      return 128 + interrupted;
    }
    if (stream.gap() && !told_gap && !common.quiet) {
      note(common.command, "some events were lost: the daemon keeps only so many, or started anew");
      told_gap = true;
    }
    if (*event && !show(**event, values, common)) return 128 + SIGPIPE;
  }
}

Result<int> past(Daemon& daemon, const EventsValues& values, std::uint64_t after, const Common& common) {
  SANDBOX_TRY(auto history, daemon.client.history(after));
  if (!history.complete && !common.quiet) note(common.command, "older events were dropped already");
  // Page by page up to the newest there was at the start.
  const auto last = history.last;
  while (!history.events.empty()) {
    for (const auto& event : history.events) {
      if (!show(event, values, common)) return 128 + SIGPIPE;
    }
    const auto seen = history.events.back().id;
    if (seen >= last) break;
    SANDBOX_TRY(history, daemon.client.history(seen));
  }
  return 0;
}

}  // namespace

Command events() {
  const auto values = std::make_shared<EventsValues>();
  Command command;
  command.path = "events";
  command.help = "Show what happens in the daemon, as it happens";
  command.examples = "Examples:\n"
                     "  sbx events                                        from now on, until Ctrl-C\n"
                     "  sbx events --since 0 --json                       everything there is, then what comes; one JSON object a line\n"
                     "  sbx events --past --since 1200                    what came after event 1200, and no waiting\n";
  command.options = {
      {.names = "--since", .into = &values->since, .help = "Begin after this event", .value = "NUMBER"},
      {.names = "--past", .into = &values->past_only, .help = "Only what has happened; do not wait for more"},
      {.names = "--sandbox", .into = &values->sandbox, .help = "Only of this sandbox", .value = "ID", .completes = Completes::sandboxes},
  };
  command.run = [values](const Common& common) {
    std::optional<std::uint64_t> after;
    if (!values->since.empty()) {
      char* end = nullptr;
      after = std::strtoull(values->since.c_str(), &end, 10);
      if (*end != 0 || values->since.front() == '-') {
        return fail(common, Error(ErrorCode::invalid_argument, "--since '" + values->since + "': the number of an event, or 0")), kUsage;
      }
    }
    return with_daemon(common, [&](Daemon& daemon) {
      return values->past_only ? past(daemon, *values, after.value_or(0), common) : follow(daemon, *values, after, common);
    });
  };
  return command;
}

}  // namespace sbx::commands
