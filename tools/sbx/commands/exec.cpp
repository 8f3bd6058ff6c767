#include <csignal>
#include <cstdlib>
#include <memory>
#include <unistd.h>
#include <utility>

#include "commands/commands.hpp"
#include "connect.hpp"
#include "outcome.hpp"
#include "output.hpp"
#include "parse.hpp"
#include "program.hpp"
#include "signals.hpp"

/// exec and attach: a program in a sandbox that is there already, and stays.
namespace sbx::commands {

using sandbox::Error;
using sandbox::ErrorCode;
using sandbox::Result;

namespace {

struct ExecValues {
  std::string id;
  std::vector<std::string> words;
  bool separated = false;
  std::vector<std::string> env;
  std::string workdir, timeout, max_output;
  bool interactive = false;
  bool terminal = false;
};

Result<sandbox::Command> make_command(const ExecValues& values, const Common& common) {
  sandbox::Command command("");
  if (values.words.empty()) {
    if (!values.terminal) {
      return Error(ErrorCode::invalid_argument, "what to run? write: sbx exec ID CMD…, or sbx exec ID -- PROGRAM ARG…");
    }
    command = sandbox::Command::from_argv({"/bin/sh", "-i"});
  } else if (values.separated) {
    command = sandbox::Command::from_argv(values.words);
  } else {
    std::string line;
    for (const auto& word : values.words) line += (line.empty() ? "" : " ") + word;
    command = sandbox::Command(line);
  }
  if (values.terminal) {
    if (common.json)
      return Error(ErrorCode::invalid_argument, "-t and --json exclude each other: a terminal's output goes to the terminal");
    if (::isatty(STDIN_FILENO) == 0) {
      return Error(ErrorCode::failed_precondition, "a terminal is needed on standard input; sbx exec without -t takes pipes");
    }
    command.pty(terminal_size(STDIN_FILENO));
    if (const char* term = std::getenv("TERM"); term != nullptr && *term != 0) command.env("TERM", term);
  }
  for (const auto& text : values.env) {
    SANDBOX_TRY(auto variable, parse_env(text));
    command.env(std::move(variable.first), std::move(variable.second));
  }
  if (!values.workdir.empty()) {
    if (values.workdir.front() != '/') return Error(ErrorCode::invalid_argument, "--workdir '" + values.workdir + "' must be absolute");
    command.workdir(values.workdir);
  }
  if (!values.timeout.empty()) {
    SANDBOX_TRY(const auto time, parse_duration(values.timeout));
    command.timeout(time);
  }
  if (!values.max_output.empty()) {
    SANDBOX_TRY(const auto amount, parse_size(values.max_output));
    command.max_output(amount);
  } else if (common.json) {
    command.max_output(sandbox::ByteCount::mib(1));
  }
  return command;
}

int start_failed(const Common& common, const Error& error) {
  const int code = start_failure_code(error, kFailure);
  fail(common, error, daemon_hint(common, error));
  return code;
}

Result<int> run_inside(Daemon& daemon, const ExecValues& values, sandbox::Command command, const Common& common) {
  Control control(values.terminal);
  SANDBOX_TRY(const auto signals, Signals::start([&](int signal) { control.on_signal(signal); }));
  // By itself, so that "no such sandbox" is not taken for "no such program".
  SANDBOX_TRY(auto box, daemon.client.open(values.id));
  if (control.interrupted()) return 128 + control.signal();
  const bool forward = values.interactive || values.terminal || has_piped_stdin();
  if (forward) command.open_stdin();
  auto spawned = box.process().spawn(std::move(command));
  if (!spawned) return start_failed(common, spawned.error());
  sandbox::RunningProcess process = *std::move(spawned);
  const auto seen = follow(process, control, {.terminal = values.terminal, .forward_stdin = forward, .collect = common.json});
  if (!seen.status) return seen.status.error();
  if (common.json) {
    Json json = Json::object();
    add_outcome(json, *seen.status, seen);
    print_json(json);
  } else if (!common.quiet) {
    tell_outcome(common.command, *seen.status, {.timeout = values.timeout, .memory = {}});
  }
  return seen.broken_pipe ? 128 + SIGPIPE : seen.status->shell_code();
}

int run_command(const Common& common, const ExecValues& values) {
  auto command = make_command(values, common);
  if (!command) return fail(common, command.error()), kUsage;
  return with_daemon(common, [&](Daemon& daemon) { return run_inside(daemon, values, *std::move(command), common); });
}

std::vector<Option> shared_options(ExecValues& values) {
  return {
      {.names = "--env,-e", .into = &values.env, .help = "Set a variable; NAME alone takes its value from here", .value = "NAME=VALUE"},
      {.names = "--workdir,-w", .into = &values.workdir, .help = "Directory to run in (default: the sandbox's)", .value = "DIR"},
      {.names = "ID", .into = &values.id, .help = "sbx-…", .required = true, .completes = Completes::sandboxes},
  };
}

}  // namespace

Command exec() {
  const auto values = std::make_shared<ExecValues>();
  Command command;
  command.path = "exec";
  command.help = "Run a command in a sandbox that exists and pass on its output and exit code";
  command.examples = "Examples:\n"
                     "  sbx exec sbx-247bf1d3 ls -l /tmp '|' wc -l        the words, joined by blanks, are a shell line\n"
                     "  sbx exec sbx-247bf1d3 -- printf '%s\\n' 'a b' '$x'  after -- : a program and its arguments, as they are\n"
                     "  tar c . | sbx exec sbx-247bf1d3 tar x -C /root    standard input is forwarded when it is a pipe or a file\n"
                     "  sbx exec --timeout 10s -e DEBUG=1 sbx-247bf1d3 make\n"
                     "\nThe first Ctrl-C goes to the program, the second kills it. Options end at the command's first word.\n"
                     "Exit code: the program's own; 128+N when signal N ended it; 124 timed out; 126 not executable; 127 not found;\n"
                     "1 sbx failed.\n";
  command.options = shared_options(*values);
  const std::vector<Option> more = {
      {.names = "--timeout", .into = &values->timeout, .help = "Kill it after this time, e.g. 500ms, 10s, 1m30s", .value = "TIME"},
      {.names = "--max-output",
       .into = &values->max_output,
       .help = "Keep this much per stream, count the rest (default all; 1m with --json)",
       .value = "SIZE"},
      {.names = "--interactive,-i", .into = &values->interactive, .help = "Forward standard input even when it is a terminal"},
      {.names = "--tty,-t", .into = &values->terminal, .help = "Run on a terminal; without CMD: a shell"},
  };
  command.options.insert(command.options.end(), more.begin(), more.end());
  command.rest = &values->words;
  command.separated = &values->separated;
  command.run = [values](const Common& common) { return run_command(common, *values); };
  return command;
}

Command attach() {
  const auto values = std::make_shared<ExecValues>();
  values->terminal = true;
  Command command;
  command.path = "attach";
  command.help = "A terminal in a sandbox that exists: a shell, or CMD";
  command.examples = "Examples:\n  sbx attach sbx-247bf1d3\n  sbx attach sbx-247bf1d3 -- top\n"
                     "\nEnding the shell leaves the sandbox as it is. Exit code: the shell's own.\n";
  command.options = shared_options(*values);
  // Always a terminal; accepted for those who are used to type it.
  command.options.push_back({.names = "--tty,-t", .into = &values->terminal, .help = "A terminal (it is always one)"});
  command.rest = &values->words;
  command.separated = &values->separated;
  command.rest_name = "[CMD…]";
  command.run = [values](const Common& common) { return run_command(common, *values); };
  return command;
}

}  // namespace sbx::commands
