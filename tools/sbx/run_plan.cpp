#include "run_plan.hpp"

#include <algorithm>
#include <cstdlib>
#include <unistd.h>
#include <utility>

#include "program.hpp"
#include "terminal.hpp"
#include "text.hpp"

namespace sbx {

using sandbox::Error;
using sandbox::ErrorCode;
using sandbox::Result;

namespace {

Result<sandbox::Command> what_to_run(const RunOptions& options) {
  if (!options.line.empty() && !options.command.empty()) return invalid("-c takes the whole shell line; leave out the command after --");
  if (!options.line.empty()) return sandbox::Command(options.line);
  if (!options.command.empty()) {
    if (options.command.front().empty()) return invalid("the program's name is empty");
    return sandbox::Command::from_argv(options.command);
  }
  if (options.terminal) return sandbox::Command::from_argv({"/bin/sh", "-i"});
  return invalid("what to run? write: sbx run -- CMD ARG…, or sbx run -c 'shell line', or sbx run -t for a shell");
}

Result<void> add_sandbox(const RunOptions& options, RunPlan& plan) {
  sandbox::Limits limits;
  if (!options.memory.empty()) {
    SANDBOX_TRY(const auto amount, parse_size(options.memory));
    limits.memory(amount);
    plan.request.memory(amount);
  }
  if (!options.disk.empty()) {
    SANDBOX_TRY(const auto amount, parse_size(options.disk));
    limits.disk(amount);
    plan.request.storage(amount);
  }
  if (options.cpus > 0) {
    limits.cpus(options.cpus);
    plan.request.cpus(options.cpus);
  }
  if (options.pids != kDefaultPids) limits.pids(static_cast<std::uint32_t>(std::min<std::uint64_t>(options.pids, UINT32_MAX)));
  SANDBOX_TRY(const auto network, parse_network(options.network.empty() ? "none" : options.network));
  const auto image = sandbox::Image::parse(options.image.empty() ? "host" : options.image);
  plan.names_host_path = image.kind() == sandbox::Image::Kind::directory || image.kind() == sandbox::Image::Kind::tar;
  plan.spec.image(image).limits(limits).network(network).writable_root(options.writable_root);
  if (options.allow_unenforced) plan.spec.allow(sandbox::allow::unenforced_limits{});

  if (options.profile.empty()) {
    // The same sandbox wherever it runs: a profile of the daemon may have a network, and another image.
    plan.request = sandbox::CreateRequest().spec(plan.spec);
    return {};
  }
  if (!options.image.empty() || !options.network.empty() || options.pids != kDefaultPids || options.writable_root ||
      options.allow_unenforced) {
    return invalid("--profile is the daemon's; it excludes --image, --net, --pids, --writable-root and --allow-unenforced-limits");
  }
  plan.request.profile(options.profile);
  return {};
}

}  // namespace

Result<RunPlan> make_run_plan(const RunOptions& options, const Common& common) {
  RunPlan plan;
  SANDBOX_TRY(plan.command, what_to_run(options));
  const std::string workdir = options.workdir.empty() ? "/root" : options.workdir;
  if (workdir.front() != '/') return invalid("--workdir '" + workdir + "' must be absolute, for example /root");
  if (options.terminal && common.json) return invalid("-t and --json exclude each other: a terminal's output goes to the terminal");
  SANDBOX_CHECK(add_sandbox(options, plan));

  if (options.terminal) {
    if (::isatty(STDIN_FILENO) == 0) {
      return Error(ErrorCode::failed_precondition, "-t needs a terminal on standard input; for a pipe leave it out (or use -i)");
    }
    plan.command.pty(terminal_size(STDIN_FILENO));
    // The program inside must speak the language of the terminal outside.
    if (const char* term = std::getenv("TERM"); term != nullptr && *term != 0) plan.command.env("TERM", term);
  }
  for (const auto& text : options.env) {
    SANDBOX_TRY(auto variable, parse_env(text));
    plan.command.env(std::move(variable.first), std::move(variable.second));
  }
  plan.command.workdir(workdir);
  if (!options.timeout.empty()) {
    SANDBOX_TRY(const auto time, parse_duration(options.timeout));
    plan.command.timeout(time);
  }
  if (!options.max_output.empty()) {
    SANDBOX_TRY(const auto amount, parse_size(options.max_output));
    plan.command.max_output(amount);
  } else if (common.json) {
    plan.command.max_output(sandbox::ByteCount::mib(1));
  }
  for (const auto& text : options.uploads) {
    SANDBOX_TRY(auto transfer, parse_upload(text, workdir));
    plan.uploads.push_back(std::move(transfer));
  }
  for (const auto& text : options.downloads) {
    SANDBOX_TRY(auto transfer, parse_download(text, workdir));
    plan.downloads.push_back(std::move(transfer));
  }
  plan.forward_stdin = options.interactive || options.terminal || has_piped_stdin();
  if (plan.forward_stdin) plan.command.open_stdin();
  return plan;
}

}  // namespace sbx
