#include <chrono>
#include <cstdio>
#include <memory>
#include <thread>

#include "commands/commands.hpp"
#include "connect.hpp"
#include "describe.hpp"
#include "output.hpp"

namespace sbx::commands {

using sandbox::Result;

namespace {

Result<int> show(Daemon& daemon, const std::string& id, const Common& common) {
  SANDBOX_TRY(auto box, daemon.client.open(id));
  SANDBOX_TRY(const auto before, box.stats());
  // A rate needs two looks; the agent's own clock says how far apart they were.
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  SANDBOX_TRY(const auto stats, box.stats());
  const double wall = std::chrono::duration<double>(stats.uptime - before.uptime).count();
  const double cpu = wall > 0 ? 100 * std::chrono::duration<double>(stats.cpu_time - before.cpu_time).count() / wall : 0;
  if (common.json) {
    print_json(to_json(stats, cpu));
    return 0;
  }
  const double limit = static_cast<double>(stats.memory_limit.bytes());
  char line[160];
  std::string text;
  std::snprintf(line, sizeof line, "CPU:         %.2f%%\n", cpu);
  text += line;
  std::snprintf(line, sizeof line, "Memory:      %s / %s (%.2f%%)\n", column_size(stats.memory.bytes()).c_str(),
                column_size(stats.memory_limit.bytes()).c_str(), limit > 0 ? 100 * static_cast<double>(stats.memory.bytes()) / limit : 0.0);
  text += line;
  text += "Network RX:  " + column_size(stats.network_rx_bytes) + "\n";
  text += "Network TX:  " + column_size(stats.network_tx_bytes) + "\n";
  text += "PIDs:        " + std::to_string(stats.pids) + "\n";
  text += "Uptime:      " + human_age(std::chrono::duration_cast<std::chrono::seconds>(stats.uptime)) + "\n";
  print(text);
  return 0;
}

}  // namespace

Command stats() {
  const auto id = std::make_shared<std::string>();
  Command command;
  command.path = "stats";
  command.help = "What a sandbox uses now";
  command.examples = "Examples:\n  sbx stats sbx-247bf1d3\n  sbx stats sbx-247bf1d3 --json | jq .memory_usage_bytes\n";
  command.options = {{.names = "ID", .into = id.get(), .help = "sbx-…", .required = true, .completes = Completes::sandboxes}};
  command.run = [id](const Common& common) {
    return with_daemon(common, [&](Daemon& daemon) { return show(daemon, *id, common); });
  };
  return command;
}

}  // namespace sbx::commands
