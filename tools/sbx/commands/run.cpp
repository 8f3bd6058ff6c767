#include <chrono>
#include <csignal>
#include <memory>
#include <optional>
#include <unistd.h>
#include <utility>

#include "commands/commands.hpp"
#include "outcome.hpp"
#include "output.hpp"
#include "place.hpp"
#include "program.hpp"
#include "run_plan.hpp"
#include "signals.hpp"
#include "transfer.hpp"

namespace sbx::commands {

using sandbox::Error;
using sandbox::ErrorCode;
using sandbox::Result;

namespace {

constexpr const char* kExamples = R"(Examples:
  sbx run -- python3 -c 'print(6 * 7)'             a program and its arguments; nothing is interpreted
  sbx run -c 'ls /usr | wc -l'                     a shell line, run by the sandbox's /bin/sh
  sbx run -t                                       a shell on a terminal
  echo data | sbx run -- wc -c                     standard input is forwarded when it is a pipe or a file
  sbx run --timeout 10s --memory 256m -- ./job     limits; exit code 124 when it ran out of time
  sbx run --upload ./src:/root/src --download /root/out.txt:./ -- sh /root/src/build.sh

A daemon that answers makes the sandbox, otherwise this process does (--embedded: always).
Exit code: the program's own; 128+N when signal N ended it; 124 timed out; 125 sbx failed; 126 not executable;
127 not found.
)";

/// How long each step took.
class Timings {
 public:
  void lap(const char* step) {
    const auto now = std::chrono::steady_clock::now();
    steps_.emplace_back(step, now - last_);
    last_ = now;
  }
  Json json() const {
    Json result = Json::object();
    for (const auto& [step, time] : steps_) {
      result.add(std::string(step) + "_ms", std::chrono::duration<double, std::milli>(time).count());
    }
    return result;
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
  std::vector<std::pair<const char*, std::chrono::steady_clock::duration>> steps_;
};

/// One run, from finding a place to the sandbox's end.
class Run {
 public:
  Run(const Common& common, const RunOptions& options, RunPlan plan)
      : common_(common), options_(options), plan_(std::move(plan)), control_(options.terminal) {}

  /// The exit code.
  int go() {
    show_progress_ = !common_.quiet && !common_.json && ::isatty(STDERR_FILENO) != 0;
    auto signals = Signals::start([this](int signal) { control_.on_signal(signal); });
    if (!signals) return tell_failure(signals.error());
    if (auto done = inside(); !done) return tell_failure(done.error());
    return exit_code_;
  }

 private:
  Result<void> check_interrupted() const {
    if (control_.interrupted()) return Error(ErrorCode::cancelled, "interrupted before the program ran");
    return {};
  }

  Result<void> inside() {
    SANDBOX_TRY(auto place, Place::find(common_, plan_));
    timings_.lap("open");
    auto created = place.create(plan_);
    if (!created) {
      if (created.error().code() == ErrorCode::failed_precondition && !options_.allow_unenforced) {
        hint_ = "`sbx host` lists what this host enforces; --allow-unenforced-limits goes on without the rest";
      } else if (!place.endpoint().empty() && plan_.names_host_path) {
        hint_ = "a daemon does not open paths of its callers; --embedded runs it in this process";
      }
      return std::move(created).error();
    }
    sandbox::Sandbox box = *std::move(created);
    timings_.lap("create");
    unenforced_ = box.unenforced();
    if (!unenforced_.empty() && !common_.quiet && !common_.json) {
      std::string line;
      for (const auto& one : unenforced_) line += (line.empty() ? "" : "; ") + one;
      note("run", "not enforced on this host: " + line);
    }
    for (const auto& transfer : plan_.uploads) {
      SANDBOX_CHECK(check_interrupted());
      SANDBOX_CHECK(upload(box, transfer, show_progress_, control_.interrupted()));
    }
    if (!plan_.uploads.empty()) timings_.lap("upload");
    SANDBOX_CHECK(check_interrupted());
    SANDBOX_CHECK(run_program(box));
    SANDBOX_CHECK(finish(box));
    SANDBOX_CHECK(box.close());
    SANDBOX_CHECK(place.close());
    timings_.lap("close");
    exit_code_ = seen_->broken_pipe ? 128 + SIGPIPE : seen_->status->shell_code();
    tell(place.endpoint());
    return {};
  }

  Result<void> run_program(sandbox::Sandbox& box) {
    auto spawned = box.process().spawn(plan_.command);
    if (!spawned) {
      failed_to_start_ = true;
      return std::move(spawned).error();
    }
    timings_.lap("start");
    sandbox::RunningProcess process = *std::move(spawned);
    seen_ = follow(process, control_, {.terminal = options_.terminal, .forward_stdin = plan_.forward_stdin, .collect = common_.json});
    timings_.lap("run");
    if (!seen_->status) return seen_->status.error();
    return {};
  }

  /// After the program: template and downloads, whatever its exit code.
  Result<void> finish(sandbox::Sandbox& box) {
    if (!options_.save_template.empty()) {
      SANDBOX_TRY(const auto info, box.save_template(options_.save_template));
      template_ = info.id;
      if (!common_.json && !common_.quiet)
        note("run", "saved " + info.id + " (" + human_size(info.size.bytes()) + "); use --image " + info.id);
      timings_.lap("save");
    }
    for (const auto& transfer : plan_.downloads) {
      SANDBOX_CHECK(download(box, transfer, show_progress_, no_stop_));
    }
    if (!plan_.downloads.empty()) timings_.lap("download");
    return {};
  }

  void tell(const std::string& endpoint) const {
    if (common_.json) {
      Json json = Json::object();
      add_outcome(json, *seen_->status, *seen_);
      if (!template_.empty()) json.add("template", template_);
      Json unenforced = Json::array();
      for (const auto& line : unenforced_) unenforced.push(line);
      json.add("unenforced", unenforced);
      if (endpoint.empty()) json.add_null("endpoint");
      else json.add("endpoint", endpoint);
      print_json(json.add("timings", timings_.json()));
    } else if (!common_.quiet) {
      tell_outcome("run", *seen_->status, {.timeout = options_.timeout, .memory = plan_.spec.limits().memory()});
    }
  }

  int tell_failure(const Error& error) const {
    int code = failed_to_start_ ? start_failure_code(error, kRunFailure) : kRunFailure;
    if (error.code() == ErrorCode::cancelled && control_.interrupted()) code = 128 + control_.signal();
    if (common_.json) {
      print_json(Json::object().add("error", to_json(error)).add("shell_code", code).add("timings", timings_.json()));
    }
    note("run", error.to_string());
    if (!hint_.empty()) note("run", hint_);
    return code;
  }

  const Common& common_;
  const RunOptions& options_;
  RunPlan plan_;
  Control control_;
  const std::atomic<bool> no_stop_{false};
  Timings timings_;
  bool show_progress_ = false;
  bool failed_to_start_ = false;
  std::optional<Followed> seen_;
  std::string template_, hint_;
  std::vector<std::string> unenforced_;
  int exit_code_ = 0;
};

int run_checked(const Common& common, const RunOptions& options) {
  auto plan = make_run_plan(options, common);
  if (!plan) {
    if (common.json) print_json(Json::object().add("error", to_json(plan.error())).add("shell_code", kRunFailure));
    note("run", plan.error().message());
    return kRunFailure;
  }
  return Run(common, options, *std::move(plan)).go();
}

std::vector<Option> run_options(RunOptions& run) {
  const std::string what = "What", limits = "Limits and locks", files = "Files and streams";
  return {
      {.names = "-c", .into = &run.line, .help = "Run this shell line with the sandbox's /bin/sh", .value = "LINE", .group = what},
      {.names = "--image",
       .into = &run.image,
       .help = "host (this host's read-only userland, the default), tpl-…, a directory or a tar archive",
       .value = "IMAGE",
       .group = what,
       .completes = Completes::templates},
      {.names = "--profile",
       .into = &run.profile,
       .help = "A profile of the daemon instead",
       .value = "NAME",
       .group = what,
       .completes = Completes::profiles},
      {.names = "--env,-e",
       .into = &run.env,
       .help = "Set a variable; NAME alone takes its value from here",
       .value = "NAME=VALUE",
       .group = what},
      {.names = "--workdir,-w", .into = &run.workdir, .help = "Directory to run in (default /root)", .value = "DIR", .group = what},

      {.names = "--net",
       .into = &run.network,
       .help = "none: loopback only, the default; bridge: public addresses",
       .value = "none|bridge",
       .group = limits},
      {.names = "--memory,-m",
       .into = &run.memory,
       .help = "RAM and writable files together (default 512m)",
       .value = "SIZE",
       .group = limits},
      {.names = "--cpus", .into = &run.cpus, .help = "CPU cores' worth of time (default 1)", .value = "N", .group = limits},
      {.names = "--pids", .into = &run.pids, .help = "Processes and threads (default 256)", .value = "N", .group = limits},
      {.names = "--disk", .into = &run.disk, .help = "Bytes in writable directories (default 256m)", .value = "SIZE", .group = limits},
      {.names = "--timeout",
       .into = &run.timeout,
       .help = "Kill it after this time, e.g. 500ms, 10s, 1m30s",
       .value = "TIME",
       .group = limits},
      {.names = "--max-output",
       .into = &run.max_output,
       .help = "Keep this much per stream, count the rest (default all; 1m with --json)",
       .value = "SIZE",
       .group = limits},
      {.names = "--writable-root", .into = &run.writable_root, .help = "Make / writable (a private layer within --disk)", .group = limits},
      {.names = "--allow-unenforced-limits",
       .into = &run.allow_unenforced,
       .help = "Go on where this host cannot enforce a limit; it is named",
       .group = limits},

      {.names = "--upload",
       .into = &run.uploads,
       .help = "Copy a file or directory in first",
       .value = "HOST:BOX",
       .group = files,
       .completes = Completes::files},
      {.names = "--download",
       .into = &run.downloads,
       .help = "Copy a file or directory out afterwards",
       .value = "BOX:HOST",
       .group = files},
      {.names = "--save-template",
       .into = &run.save_template,
       .help = "Afterwards save everything writable as a template",
       .value = "LABEL",
       .group = files},
      {.names = "--interactive,-i", .into = &run.interactive, .help = "Forward standard input even when it is a terminal", .group = files},
      {.names = "--tty,-t", .into = &run.terminal, .help = "Run on a terminal; without CMD: a shell", .group = files},
  };
}

}  // namespace

Command run() {
  const auto options = std::make_shared<RunOptions>();
  Command command;
  command.path = "run";
  command.help = "Run one command in a fresh sandbox and pass on its output and exit code";
  command.examples = kExamples;
  command.options = run_options(*options);
  command.rest = &options->command;
  command.usage_code = kRunFailure;
  command.run = [options](const Common& common) { return run_checked(common, *options); };
  return command;
}

}  // namespace sbx::commands
