#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>
#include <utility>

#include <sandbox/runtime.hpp>

#include "options.hpp"
#include "parse.hpp"
#include "signals.hpp"
#include "terminal.hpp"
#include "text.hpp"
#include "transfer.hpp"

namespace sbx {

using sandbox::Error;
using sandbox::ErrorCode;
using sandbox::Result;

namespace {

using Clock = std::chrono::steady_clock;

/// What `sbx run` was asked for, checked.
struct Plan {
  sandbox::SandboxSpec spec;
  sandbox::Command command{""};
  std::vector<Transfer> uploads, downloads;
  bool forward_stdin = false;
};

/// How long each step took.
class Timings {
 public:
  void lap(const char* step) {
    const auto now = Clock::now();
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
  Clock::time_point last_ = Clock::now();
  std::vector<std::pair<const char*, Clock::duration>> steps_;
};

Result<Plan> make_plan(const RunOptions& options) {
  const auto invalid = [](std::string text) { return Error(ErrorCode::invalid_argument, std::move(text)); };
  Plan plan;
  if (!options.line.empty() && !options.command.empty()) {
    return invalid("-c takes the whole shell line; leave out the command after --");
  }
  if (!options.line.empty()) {
    plan.command = sandbox::Command(options.line);
  } else if (!options.command.empty()) {
    if (options.command.front().empty()) return invalid("the program's name is empty");
    plan.command = sandbox::Command::from_argv(options.command);
  } else if (options.terminal) {
    plan.command = sandbox::Command::from_argv({"/bin/sh", "-i"});
  } else {
    return invalid("what to run? write: sbx run -- CMD ARG…, or sbx run -c 'shell line', or sbx run -t for a shell");
  }
  if (options.workdir.empty() || options.workdir.front() != '/') {
    return invalid("--workdir '" + options.workdir + "' must be absolute, for example /root");
  }
  if (options.terminal && options.json) return invalid("-t and --json exclude each other: a terminal's output goes to the terminal");

  sandbox::Limits limits;
  if (!options.memory.empty()) {
    SANDBOX_TRY(const auto amount, parse_size(options.memory));
    limits.memory(amount);
  }
  if (!options.disk.empty()) {
    SANDBOX_TRY(const auto amount, parse_size(options.disk));
    limits.disk(amount);
  }
  if (options.cpus > 0) limits.cpus(options.cpus);
  if (options.pids > 0) limits.pids(options.pids);
  SANDBOX_TRY(const auto network, parse_network(options.network));
  plan.spec.image(sandbox::Image::parse(options.image)).limits(limits).network(network);
  plan.spec.writable_root(options.writable_root);
  if (options.allow_unenforced) plan.spec.allow(sandbox::allow::unenforced_limits{});

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
  plan.command.workdir(options.workdir);
  if (!options.timeout.empty()) {
    SANDBOX_TRY(const auto time, parse_duration(options.timeout));
    plan.command.timeout(time);
  }
  if (!options.max_output.empty()) {
    SANDBOX_TRY(const auto amount, parse_size(options.max_output));
    plan.command.max_output(amount);
  } else if (options.json) {
    plan.command.max_output(sandbox::ByteCount::mib(1));
  }
  for (const auto& text : options.uploads) {
    SANDBOX_TRY(auto transfer, parse_upload(text, options.workdir));
    plan.uploads.push_back(std::move(transfer));
  }
  for (const auto& text : options.downloads) {
    SANDBOX_TRY(auto transfer, parse_download(text, options.workdir));
    plan.downloads.push_back(std::move(transfer));
  }
  // A pipe, a file or a socket on standard input is meant for the program; a terminal only when asked for (-i, -t), so
  // that a loop in a shell does not lose its input to the first command.
  struct stat input{};
  plan.forward_stdin = options.interactive || options.terminal ||
                       (::fstat(STDIN_FILENO, &input) == 0 &&
                        (S_ISFIFO(input.st_mode) || S_ISREG(input.st_mode) || S_ISSOCK(input.st_mode)));
  if (plan.forward_stdin) plan.command.open_stdin();
  return plan;
}

/// What a signal does, by phase. The handler runs on the Signals thread.
class Control {
 public:
  explicit Control(bool terminal) : terminal_(terminal) {}

  void on_signal(int signal) {
    const std::scoped_lock lock(mutex_);
    if (signal == SIGWINCH) {
      if (terminal_ && process_ != nullptr) process_->resize(terminal_size(STDIN_FILENO)).ignore("the program may have ended");
      return;
    }
    signal_ = signal;
    ++count_;
    interrupted_ = true;
    if (process_ != nullptr && count_ <= 2) {
      // First what the user typed, as if the program ran here; then, or when the terminal is gone, no more asking.
      if (count_ == 1 && signal != SIGHUP) process_->signal(signal).ignore("the program may have ended");
      else process_->kill().ignore("the program may have ended");
    } else if (count_ >= 2) {
      // Whatever hangs: the launcher notices that we are gone and removes everything.
      if (raw_ != nullptr) raw_->restore();
      ::_exit(128 + signal);
    }
  }
  void set_process(sandbox::RunningProcess* process) {
    const std::scoped_lock lock(mutex_);
    process_ = process;
  }
  void set_raw(RawMode* raw) {
    const std::scoped_lock lock(mutex_);
    raw_ = raw;
  }
  const std::atomic<bool>& interrupted() const { return interrupted_; }
  int signal() const { return signal_; }

 private:
  std::mutex mutex_;
  const bool terminal_;
  sandbox::RunningProcess* process_ = nullptr;
  RawMode* raw_ = nullptr;
  int count_ = 0;
  std::atomic<int> signal_{0};
  std::atomic<bool> interrupted_{false};
};

/// Our standard input to the program's, on a thread of its own until end of file, the program's end, or stop().
class StdinPump {
 public:
  explicit StdinPump(sandbox::RunningProcess& process) : process_(process), wake_(::eventfd(0, EFD_CLOEXEC)) {
    thread_ = std::thread([this] { run(); });
  }
  ~StdinPump() {
    stop();
    thread_.join();
    ::close(wake_);
  }
  StdinPump(const StdinPump&) = delete;
  void stop() {
    const std::uint64_t one = 1;
    if (::write(wake_, &one, sizeof one) < 0) ::perror("sbx: eventfd");
  }

 private:
  void run() {
    std::vector<char> buffer(64 * 1024);
    while (true) {
      pollfd polled[2] = {{STDIN_FILENO, POLLIN, 0}, {wake_, POLLIN, 0}};
      if (::poll(polled, 2, -1) < 0) {
        if (errno == EINTR) continue;
        return;
      }
      if (polled[1].revents != 0) return;
      const auto got = ::read(STDIN_FILENO, buffer.data(), buffer.size());
      if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
      if (got <= 0) {
        process_.close_stdin().ignore("the program may have ended");
        return;
      }
      const auto written = process_.write(std::string_view(buffer.data(), static_cast<std::size_t>(got)));
      if (!written) {
        // It ended or closed its input, as `yes | true` does: not our failure.
        written.error().ignore("nobody reads standard input any more");
        return;
      }
    }
  }

  sandbox::RunningProcess& process_;
  int wake_;
  std::thread thread_;
};

/// False when the reader of `fd` is gone.
bool write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const auto put = ::write(fd, text.data(), text.size());
    if (put > 0) {
      text.remove_prefix(static_cast<std::size_t>(put));
    } else if (errno == EAGAIN) {
      pollfd polled{fd, POLLOUT, 0};
      ::poll(&polled, 1, -1);
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

/// One run, from an opened runtime to a closed one.
class Run {
 public:
  Run(const RunOptions& options, Plan plan) : options_(options), plan_(std::move(plan)), control_(options.terminal) {}

  /// The exit code.
  int go() {
    show_progress_ = !options_.quiet && !options_.json && ::isatty(STDERR_FILENO) != 0;
    auto signals = Signals::start([this](int signal) { control_.on_signal(signal); });
    if (!signals) return fail(signals.error());
    int code = 0;
    if (auto done = inside(); !done) code = fail(done.error());
    else code = exit_code_;
    return code;
  }

 private:
  Result<void> check_interrupted() const {
    if (control_.interrupted()) return Error(ErrorCode::cancelled, "interrupted before the program ran");
    return {};
  }

  Result<void> inside() {
    SANDBOX_TRY(auto runtime, sandbox::Runtime::open(sandbox::RuntimeOptions().launchers(1)));
    timings_.lap("open");
    auto created = runtime.create(plan_.spec);
    if (!created) {
      hint_ = created.error().code() == ErrorCode::failed_precondition && !options_.allow_unenforced
                  ? "`sbx host` lists what this host enforces; --allow-unenforced-limits goes on without the rest"
                  : "";
      return std::move(created).error();
    }
    sandbox::Sandbox box = *std::move(created);
    timings_.lap("create");
    unenforced_ = box.unenforced();
    if (!unenforced_.empty() && !options_.quiet && !options_.json) {
      std::string line;
      for (const auto& one : unenforced_) line += (line.empty() ? "" : "; ") + one;
      note("not enforced on this host: " + line);
    }
    for (const auto& transfer : plan_.uploads) {
      SANDBOX_CHECK(check_interrupted());
      SANDBOX_CHECK(upload(box, transfer, show_progress_, control_.interrupted()));
    }
    if (!plan_.uploads.empty()) timings_.lap("upload");
    SANDBOX_CHECK(check_interrupted());

    {
      auto spawned = box.process().spawn(plan_.command);
      if (!spawned) {
        failed_to_start_ = true;
        return std::move(spawned).error();
      }
      timings_.lap("start");
      sandbox::RunningProcess process = *std::move(spawned);
      std::optional<RawMode> raw;
      if (options_.terminal) {
        SANDBOX_TRY(auto mode, RawMode::enter(STDIN_FILENO));
        raw.emplace(std::move(mode));
        control_.set_raw(&*raw);
        // The window may have changed since the plan was made.
        process.resize(terminal_size(STDIN_FILENO)).ignore("the program may have ended");
      }
      control_.set_process(&process);
      std::optional<StdinPump> input;
      if (plan_.forward_stdin) input.emplace(process);
      auto status = follow(process);
      control_.set_process(nullptr);
      control_.set_raw(nullptr);
      raw.reset();
      if (input) input->stop();
      timings_.lap("run");
      if (status) status_ = *status;
      Result<void> after = status ? finish(box) : Result<void>(std::move(status).error());
      // Closing the sandbox also ends a write to the program's input that is still blocked; then the thread can be joined.
      auto closed = box.close();
      input.reset();
      if (!after) {
        closed.ignore("the first failure is the one to tell");
        return after;
      }
      SANDBOX_CHECK(std::move(closed));
    }
    SANDBOX_CHECK(runtime.close());
    timings_.lap("close");
    exit_code_ = broken_pipe_ ? 128 + SIGPIPE : status_->shell_code();
    tell();
    return {};
  }

  /// Reads until both streams end, then waits.
  Result<sandbox::ExitStatus> follow(sandbox::RunningProcess& process) {
    while (true) {
      SANDBOX_TRY(const auto chunk, process.read());
      if (!chunk) break;
      const bool out = chunk->stream == sandbox::OutputChunk::Stream::out;
      if (options_.json) {
        (out ? stdout_ : stderr_).append(chunk->text());
      } else if (!broken_pipe_ && !write_all(out ? STDOUT_FILENO : STDERR_FILENO, chunk->text())) {
        // Like a program in a pipeline whose reader left.
        broken_pipe_ = true;
        SANDBOX_CHECK(process.kill());
      }
    }
    return process.wait();
  }

  /// After the program: template and downloads, whatever its exit code.
  Result<void> finish(sandbox::Sandbox& box) {
    if (!options_.save_template.empty()) {
      SANDBOX_TRY(const auto info, box.save_template(options_.save_template));
      template_ = info.id;
      if (!options_.json && !options_.quiet) note("saved " + info.id + " (" + human_size(info.size.bytes()) + "); use --image " + info.id);
      timings_.lap("save");
    }
    for (const auto& transfer : plan_.downloads) {
      SANDBOX_CHECK(download(box, transfer, show_progress_, no_stop_));
    }
    if (!plan_.downloads.empty()) timings_.lap("download");
    return {};
  }

  void note(const std::string& text) { std::fprintf(stderr, "sbx: %s\n", text.c_str()); }

  void tell() {
    const auto& status = *status_;
    if (options_.json) {
      std::printf("%s\n", result_json().str().c_str());
      std::fflush(stdout);
      return;
    }
    if (options_.quiet) return;
    switch (status.cause) {
      case sandbox::ExitCause::timed_out: note("timed out after " + options_.timeout + ", killed"); break;
      case sandbox::ExitCause::out_of_memory:
        note("out of memory: killed at the limit of " + human_size(plan_.spec.limits().memory().bytes()) + " (--memory)");
        break;
      case sandbox::ExitCause::limit_hit: note("a limit was hit, signal " + std::to_string(status.signal)); break;
      case sandbox::ExitCause::signalled:
      case sandbox::ExitCause::exited:
      case sandbox::ExitCause::cancelled: break;
    }
    if (const auto dropped = status.stdout_dropped + status.stderr_dropped; dropped != 0) {
      note(human_size(dropped) + " of output dropped (--max-output)");
    }
  }

  Json result_json() const {
    const auto& status = *status_;
    const auto ms = [](std::chrono::nanoseconds time) { return std::chrono::duration<double, std::milli>(time).count(); };
    Json json = Json::object();
    json.add("cause", sandbox::name(status.cause));
    if (status.cause == sandbox::ExitCause::exited) json.add("exit_code", status.exit_code).add_null("signal");
    else json.add_null("exit_code").add("signal", status.signal);
    json.add("shell_code", status.shell_code());
    json.add_bytes("stdout", stdout_).add_bytes("stderr", stderr_);
    json.add("stdout_bytes", status.stdout_bytes).add("stderr_bytes", status.stderr_bytes);
    json.add("stdout_dropped", status.stdout_dropped).add("stderr_dropped", status.stderr_dropped);
    json.add("oom_kills", status.oom_kills).add("core_dumped", status.core_dumped);
    json.add("wall_ms", ms(status.wall_time)).add("user_ms", ms(status.user_time)).add("system_ms", ms(status.system_time));
    json.add("max_rss", status.max_rss.bytes());
    if (!template_.empty()) json.add("template", template_);
    Json unenforced = Json::array();
    for (const auto& line : unenforced_) unenforced.push(line);
    json.add("unenforced", unenforced).add("timings", timings_.json());
    return json;
  }

  int fail(const Error& error) {
    int code = kOwnFailure;
    if (failed_to_start_) {
      if (error.code() == ErrorCode::not_found) code = kNotFound;
      if (error.code() == ErrorCode::permission_denied || error.sys_errno() == EACCES || error.sys_errno() == ENOEXEC) code = kNotExecutable;
    }
    if (error.code() == ErrorCode::cancelled && control_.interrupted()) code = 128 + control_.signal();
    if (options_.json) {
      std::printf("%s\n", Json::object().add("error", to_json(error)).add("shell_code", code).add("timings", timings_.json()).str().c_str());
      std::fflush(stdout);
    }
    note(error.to_string());
    if (!hint_.empty()) note(hint_);
    return code;
  }

  const RunOptions& options_;
  Plan plan_;
  Control control_;
  const std::atomic<bool> no_stop_{false};
  Timings timings_;
  bool show_progress_ = false;
  bool failed_to_start_ = false;
  bool broken_pipe_ = false;
  std::optional<sandbox::ExitStatus> status_;
  std::string stdout_, stderr_, template_, hint_;
  std::vector<std::string> unenforced_;
  int exit_code_ = 0;
};

}  // namespace

int run(const RunOptions& options) {
  auto plan = make_plan(options);
  if (!plan) {
    if (options.json) std::printf("%s\n", Json::object().add("error", to_json(plan.error())).add("shell_code", kOwnFailure).str().c_str());
    std::fprintf(stderr, "sbx: %s\n", plan.error().message().c_str());
    return kOwnFailure;
  }
  return Run(options, *std::move(plan)).go();
}

}  // namespace sbx
