#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include <sandbox/version.hpp>

#include "options.hpp"

namespace {

constexpr const char* kExamples = R"(Examples:
  sbx run -- python3 -c 'print(6 * 7)'             a program and its arguments; nothing is interpreted
  sbx run -c 'ls /usr | wc -l'                     a shell line, run by the sandbox's /bin/sh
  sbx run -t                                       a shell on a terminal
  echo data | sbx run -- wc -c                     standard input is forwarded when it is a pipe or a file
  sbx run --timeout 10s --memory 256m -- ./job     limits; exit code 124 when it ran out of time
  sbx run --upload ./src:/root/src --download /root/out.txt:./ -- sh /root/src/build.sh

Exit code: the program's own; 128+N when signal N ended it; 124 timed out; 125 sbx failed; 126 not executable;
127 not found.
)";

int main_checked(int argc, char** argv) {
  CLI::App app{"Runs untrusted commands in isolated environments on this host.", "sbx"};
  app.require_subcommand(1);
  app.set_help_flag("-h,--help", "This text");
  app.footer("Run `sbx run --help` for options and examples.");

  sbx::RunOptions run;
  auto* run_command = app.add_subcommand("run", "Run one command in a fresh sandbox and pass on its output and exit code");
  run_command->footer(kExamples);
  run_command->prefix_command();
  run_command->add_option("-c", run.line, "Run this shell line with the sandbox's /bin/sh")->type_name("LINE")->group("What");
  run_command->add_option("--image", run.image, "host (this host's read-only userland), tpl-…, a directory or a tar archive")
      ->type_name("IMAGE")->capture_default_str()->group("What");
  run_command->add_option("--env,-e", run.env, "Set a variable; NAME alone takes its value from here")
      ->type_name("NAME=VALUE")->allow_extra_args(false)->take_all()->group("What");
  run_command->add_option("--workdir,-w", run.workdir, "Directory to run in")->type_name("DIR")->capture_default_str()->group("What");

  run_command->add_option("--net", run.network, "none: loopback only; bridge: public addresses")
      ->type_name("none|bridge")->capture_default_str()->group("Limits and locks");
  run_command->add_option("--memory,-m", run.memory, "RAM and writable files together (default 512m)")->type_name("SIZE")->group("Limits and locks");
  run_command->add_option("--cpus", run.cpus, "CPU cores' worth of time (default 1)")->type_name("N")->check(CLI::PositiveNumber)->group("Limits and locks");
  run_command->add_option("--pids", run.pids, "Processes and threads (default 256)")->type_name("N")->check(CLI::PositiveNumber)->group("Limits and locks");
  run_command->add_option("--disk", run.disk, "Bytes in writable directories (default 256m)")->type_name("SIZE")->group("Limits and locks");
  run_command->add_option("--timeout", run.timeout, "Kill it after this time, e.g. 500ms, 10s, 1m30s")->type_name("TIME")->group("Limits and locks");
  run_command->add_option("--max-output", run.max_output, "Keep this much per stream, count the rest (default none; 1m with --json)")
      ->type_name("SIZE")->group("Limits and locks");
  run_command->add_flag("--writable-root", run.writable_root, "Make / writable (a private layer within --disk)")->group("Limits and locks");
  run_command->add_flag("--allow-unenforced-limits", run.allow_unenforced, "Go on where this host cannot enforce a limit; it is named")
      ->group("Limits and locks");

  run_command->add_option("--upload", run.uploads, "Copy a file or directory in first; repeatable")
      ->type_name("HOST:BOX")->allow_extra_args(false)->take_all()->group("Files and streams");
  run_command->add_option("--download", run.downloads, "Copy a file or directory out afterwards; repeatable")
      ->type_name("BOX:HOST")->allow_extra_args(false)->take_all()->group("Files and streams");
  run_command->add_option("--save-template", run.save_template, "Afterwards save everything writable as a template")
      ->type_name("LABEL")->group("Files and streams");
  run_command->add_flag("-i,--interactive", run.interactive, "Forward standard input even when it is a terminal")->group("Files and streams");
  run_command->add_flag("-t,--tty", run.terminal, "Run on a terminal; without CMD: a shell")->group("Files and streams");
  run_command->add_flag("--json", run.json, "One JSON object on standard output instead of the program's streams")->group("Files and streams");
  run_command->add_flag("-q,--quiet", run.quiet, "No notes and no progress on standard error")->group("Files and streams");

  bool json = false;
  auto* host = app.add_subcommand("host", "What this host enforces, measured");
  host->add_flag("--json", json, "As one JSON object");

  auto* templates = app.add_subcommand("tpl", "Saved templates");
  templates->require_subcommand(1);
  auto* list = templates->add_subcommand("ls", "List them");
  list->add_flag("--json", json, "As a JSON array");
  auto* remove = templates->add_subcommand("rm", "Remove some");
  std::vector<std::string> ids;
  remove->add_option("ID", ids, "tpl-…")->required();

  auto* version = app.add_subcommand("version", "Print the version");

  // Everything after the first `--` of `run` is the program's, whatever it looks like.
  std::vector<std::string> words(argv + 1, argv + argc);
  std::vector<std::string> command;
  bool separated = false;
  if (!words.empty() && words.front() == "run") {
    for (std::size_t i = 1; i < words.size(); ++i) {
      if (words[i] != "--") continue;
      separated = true;
      command.assign(words.begin() + static_cast<std::ptrdiff_t>(i) + 1, words.end());
      words.resize(i);
      break;
    }
  }
  try {
    // CLI11 takes them last first.
    app.parse(std::vector<std::string>(words.rbegin(), words.rend()));
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : sbx::kOwnFailure;
  }

  if (run_command->parsed()) {
    const auto rest = run_command->remaining();
    if (!rest.empty() && rest.front().starts_with("-")) {
      std::fprintf(stderr, "sbx: unknown option %s; see sbx run --help\n", rest.front().c_str());
      return sbx::kOwnFailure;
    }
    // `sbx run prog a -- b`: the command began before the `--`, which is then one of its arguments.
    run.command = rest;
    if (separated && !rest.empty()) run.command.emplace_back("--");
    run.command.insert(run.command.end(), command.begin(), command.end());
    return sbx::run(run);
  }
  if (host->parsed()) return sbx::show_host(json);
  if (list->parsed()) return sbx::list_templates(json);
  if (remove->parsed()) return sbx::remove_templates(ids);
  if (version->parsed()) std::printf("sbx %s\n", SANDBOX_VERSION_STRING);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return main_checked(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "sbx: %s\n", error.what());
    return sbx::kOwnFailure;
  }
}
