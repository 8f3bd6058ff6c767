#include "agent/v1/programs.hpp"

#include <signal.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "agent/v1/params.hpp"
#include "agent/v1/state.hpp"
#include "agent/v1/text.hpp"

namespace sandbox::agent::v1 {
namespace {

constexpr double kDefaultTimeout = 30, kMaxTimeout = 300;   ///< seconds
/// What one answer of process.exec may have of text; the rest of 10 MiB is for the envelope. Encrypted answers travel in
/// base64 and get less.
constexpr std::size_t kMaxText = kMaxFrame - 4096;
constexpr std::size_t kMaxSealedText = kMaxFrame / 4 * 3 - 4096;
constexpr std::size_t kStreamPiece = 8192;
constexpr std::size_t kRawPiece = 4096;
constexpr std::size_t kSpawnLimit = 10485760;   ///< bytes per stream of a spawned process that clients get

using session::Channel;

struct Output {
  std::string text;        ///< exec: collected
  Utf8Cutter cutter;       ///< stream
  std::uint64_t total = 0;
  bool cut = false;
};

/// What starting failed with, as the original's run-time library says it.
std::string start_failure(const protocol::End& end, const std::string& workdir) {
  if (end.sys_errno == 0) return end.message;
  const std::string why = os_text(end.sys_errno);
  if (end.operation == "exec.workdir") return "chdir " + workdir + ": " + why;
  return "fork/exec /bin/sh: " + why;
}

int signal_number(std::string_view name) noexcept {
  if (name == "SIGTERM" || name == "term") return SIGTERM;
  if (name == "SIGKILL" || name == "kill") return SIGKILL;
  if (name == "SIGINT" || name == "int") return SIGINT;
  if (name == "SIGHUP" || name == "hup") return SIGHUP;
  return 0;
}

}  // namespace

/// One program and the request that started it.
class Program final : public session::StreamHandler {
 public:
  using Mode = Programs::Mode;
  Program(Programs& owner, Mode mode, Caller caller) : owner_(owner), mode_(mode), caller_(std::move(caller)) {}
  ~Program() override {
    if (timer_) state().loop().cancel_timer(timer_);
    owner_.collected_ -= collected_;
  }

  void start(protocol::ExecRequest request, std::int64_t timeout_ms) {
    workdir_ = request.workdir.empty() ? state().agent().workdir() : request.workdir;
    timeout_ms_ = timeout_ms;
    request.timeout_ms = static_cast<std::uint64_t>(timeout_ms);
    if (timeout_ms > 0) {
      // The exec kills at its timeout; this only tells an end by it from one right before.
      timer_ = state().loop().at(core::SteadyClock::now() + std::chrono::milliseconds(timeout_ms), [this] {
        timer_ = 0;
        timed_out_ = true;
      });
    }
    stream_ = state().loopback().open(protocol::Method::exec, protocol::encode(request), this);
  }
  session::StreamId stream() const noexcept { return stream_; }
  std::uint32_t pid() const noexcept { return pid_; }
  bool terminal() const noexcept { return mode_ == Mode::pty; }

  void control(const protocol::ExecControl& message) {
    state().loopback().send_message(stream_, protocol::encode(message)).ignore("a signal and a size are a few bytes");
  }

  /// False when too much waits already.
  bool write(std::string_view bytes, bool fin) {
    if (input_.size() - input_at_ + bytes.size() > Programs::kMaxInput) return false;
    input_ += bytes;
    input_fin_ = input_fin_ || fin;
    push_input();
    return true;
  }

  void on_message(ByteView message) override {
    auto started = protocol::decode<protocol::ExecStarted>(message);
    if (!started || pid_ != 0) return started.ignore("the agent talks to itself");
    pid_ = started->pid;
    if (mode_ != Mode::spawn && mode_ != Mode::pty) return;
    owner_.by_pid_[pid_] = this;
    state().answer(caller_, json::Object().number("pid", pid_).take());
  }
  void on_writable(Channel) override { push_input(); }
  void on_data(Channel channel, ByteView data, bool) override {
    if (data.empty()) return;
    const Credit credit{stream_, channel, data.size()};
    Output& output = outputs_[channel == Channel::err];
    switch (mode_) {
      case Mode::exec: return collect(output, data, credit);
      case Mode::stream: return tell_text(output, channel, output.cutter.feed(as_text(data)), credit);
      case Mode::spawn: return tell_spawned(output, channel, as_text(data), credit);
      case Mode::pty: return tell_pieces(as_text(data), kRawPiece, credit, [](std::string_view piece) {
        return Notice{Notice::Tier::output, {}, std::string(piece), {}};
      });
    }
  }
  void on_lost(const Error& error) override {
    protocol::End end;
    end.code = static_cast<std::uint16_t>(error.code());
    end.message = error.message();
    on_end(end);
  }
  void on_end(const protocol::End& end) override {
    protocol::ExecOutcome outcome;
    if (end.code == 0) {
      auto decoded = protocol::decode<protocol::ExecOutcome>(as_bytes(end.result));
      if (decoded) outcome = *std::move(decoded);
      else decoded.error().ignore("the agent talks to itself");
    }
    if (end.code != 0) failed(end);
    else if (mode_ == Mode::spawn || mode_ == Mode::pty) exited(outcome);
    else answer(outcome);
    owner_.ended(*this);
  }

 private:
  State& state() noexcept { return owner_.state_; }

  static std::int64_t exit_code(const protocol::ExecOutcome& outcome) noexcept {
    return outcome.signal != 0 ? -1 : static_cast<std::int64_t>(outcome.exit_code);
  }

  void collect(Output& output, ByteView data, const Credit& credit) {
    const std::size_t room = std::min(Programs::kMaxCollected - owner_.collected_, kMaxFrame - output.text.size());
    const ByteView kept = data.first(std::min(room, data.size()));
    output.text += as_text(kept);
    output.cut = output.cut || kept.size() < data.size();
    collected_ += kept.size();
    owner_.collected_ += kept.size();
    state().give_back(credit);
  }

  /// Notices of at most `size` bytes of `text` each; the last one carries the credit.
  template <class Make>
  void tell_pieces(std::string_view text, std::size_t size, const Credit& credit, Make&& make) {
    if (text.empty()) return state().give_back(credit);
    while (!text.empty()) {
      const std::string_view piece = mode_ == Mode::stream ? utf8_prefix(text, size) : text.substr(0, size);
      text.remove_prefix(piece.size());
      Notice notice = make(piece);
      if (text.empty()) notice.credit = credit;
      state().notify(std::move(notice));
    }
  }

  void tell_text(Output&, Channel channel, const std::string& text, const Credit& credit) {
    tell_pieces(text, kStreamPiece, credit, [&](std::string_view piece) {
      const auto* name = channel == Channel::err ? "stderr" : "stdout";
      return Notice{Notice::Tier::output, "process.output", json::Object().text("data", piece).text("stream", name).take(), {}};
    });
  }

  void tell_spawned(Output& output, Channel channel, std::string_view data, const Credit& credit) {
    const char* method = channel == Channel::err ? "process.stderr" : "process.stdout";
    const std::size_t room = kSpawnLimit - static_cast<std::size_t>(std::min<std::uint64_t>(output.total, kSpawnLimit));
    output.total += data.size();
    tell_pieces(data.substr(0, room), kRawPiece, credit, [&](std::string_view piece) {
      return Notice{Notice::Tier::output, method, json::Object().text("data", base64(as_bytes(piece))).number("pid", pid_).take(), {}};
    });
    if (data.size() <= room || std::exchange(output.cut, true)) return;
    state().notify({Notice::Tier::output, "process.output_truncated",
                    json::Object().number("limit", kSpawnLimit).number("pid", pid_).text("stream", method).take(), {}});
  }

  void push_input() {
    const bool fin = input_fin_;
    const auto rest = as_bytes(std::string_view(input_).substr(input_at_));
    if (rest.empty() && !fin) return;
    const std::size_t taken = state().loopback().send(stream_, Channel::in, rest, fin);
    input_at_ += taken;
    if (taken < rest.size()) return;
    input_.clear();
    input_at_ = 0;
    if (fin) input_fin_ = false;
  }

  void failed(const protocol::End& end) {
    constexpr const char* kPrefix[] = {"exec: ", "start: ", "start: ", "start pty: "};
    const std::string text = kPrefix[static_cast<int>(mode_)] + start_failure(end, workdir_);
    if (pid_ != 0 && (mode_ == Mode::spawn || mode_ == Mode::pty)) {
      state().notify({Notice::Tier::state, "process.error", json::Object().text("error", text).number("pid", pid_).take(), {}});
    } else {
      state().refuse(caller_, text);
    }
  }

  void exited(const protocol::ExecOutcome& outcome) {
    state().notify({Notice::Tier::state, "process.exit",
                    json::Object().number("exit_code", exit_code(outcome)).number("pid", pid_).take(), {}});
  }

  void answer(const protocol::ExecOutcome& outcome) {
    if (mode_ == Mode::stream) {
      tell_text(outputs_[0], Channel::out, outputs_[0].cutter.finish(), {});
      tell_text(outputs_[1], Channel::err, outputs_[1].cutter.finish(), {});
    }
    if (timed_out_) return state().refuse(caller_, "command timed out after " + duration_text(timeout_ms_));
    json::Object result;
    if (mode_ == Mode::exec) add_output(result, outcome);
    result.number("exit_code", exit_code(outcome)).number("exitCode", exit_code(outcome));
    state().answer(caller_, result.take());
  }

  void add_output(json::Object& result, const protocol::ExecOutcome& outcome) {
    const Connection* connection = state().connection_of(caller_);
    if (!connection) return;   // nobody is there to read it
    const std::size_t most = connection->encrypted() ? kMaxSealedText : kMaxText;
    // A short stderr stays whole beside a flood on stdout, and the other way round.
    const std::size_t err_size = json::string_size(outputs_[1].text);
    const std::string_view out = json::fitting(outputs_[0].text, most - std::min(err_size, most / 2));
    const std::string_view err = json::fitting(outputs_[1].text, most - json::string_size(out));
    result.text("stdout", out).text("stderr", err);
    if (outputs_[0].cut || outcome.out_dropped > 0 || out.size() < outputs_[0].text.size()) result.boolean("stdout_truncated", true);
    if (outputs_[1].cut || outcome.err_dropped > 0 || err.size() < outputs_[1].text.size()) result.boolean("stderr_truncated", true);
  }

  Programs& owner_;
  const Mode mode_;
  const Caller caller_;
  session::StreamId stream_ = 0;
  std::uint32_t pid_ = 0;
  std::string workdir_;
  std::int64_t timeout_ms_ = 0;
  Loop::TimerId timer_ = 0;
  bool timed_out_ = false;
  Output outputs_[2];
  std::size_t collected_ = 0;
  std::string input_;
  std::size_t input_at_ = 0;
  bool input_fin_ = false;
};

Programs::Programs(State& state) : state_(state) {}
Programs::~Programs() = default;

void Programs::exec(const Request& request) {
  // What an SDK's Kill sends.
  Params params(request.params);
  if (!params.has("command") && params.has("pid") && params.has("signal")) return signal(request);
  start(request, Mode::exec);
}
void Programs::stream(const Request& request) { start(request, Mode::stream); }
void Programs::spawn(const Request& request) { start(request, Mode::spawn); }

void Programs::pty(const Request& request) {
  // A notification with a process number is what an SDK's Write sends.
  if (request.caller.id.empty() && Params(request.params).has("pid")) return input(request);
  start(request, Mode::pty);
}

void Programs::start(const Request& request, Mode mode) {
  graveyard_.clear();
  Params params(request.params);
  protocol::ExecRequest exec;
  exec.shell = params.text("command");
  exec.env = params.strings("env");
  exec.workdir = params.text("cwd");
  double timeout = mode == Mode::exec || mode == Mode::stream ? params.number("timeout", kDefaultTimeout) : 0;
  const auto columns = mode == Mode::pty ? params.integer("cols", 80) : 80;
  const auto rows = mode == Mode::pty ? params.integer("rows", 24) : 24;
  if (!params.error().empty()) return state_.refuse(request.caller, params.error());
  if (exec.shell.empty() && mode != Mode::pty) return state_.refuse(request.caller, "command is required");
  if (running_.size() >= kMaxPrograms) return state_.refuse(request.caller, "too many processes at once");
  if (exec.shell.empty()) exec.shell = "/bin/sh";
  if (!exec.workdir.empty() && exec.workdir.front() != '/') exec.workdir = state_.agent().workdir() + "/" + exec.workdir;
  if (mode == Mode::exec) exec.max_output = kMaxFrame;
  if (mode == Mode::spawn) exec.max_output = kSpawnLimit + 1;   // one more than is told, so that a cut is seen
  exec.stdin_open = mode == Mode::spawn || mode == Mode::pty;
  if (mode == Mode::pty) {
    const auto cells = [](std::int64_t count, std::int64_t otherwise) {
      return static_cast<std::uint16_t>(count <= 0 || count > 65535 ? otherwise : count);
    };
    exec.pty.emplace();
    exec.pty->columns = cells(columns, 80);
    exec.pty->rows = cells(rows, 24);
  }
  std::int64_t timeout_ms = 0;
  if (mode == Mode::exec || mode == Mode::stream) {
    if (timeout <= 0) timeout = kDefaultTimeout;
    timeout_ms = std::max<std::int64_t>(1, static_cast<std::int64_t>(std::ceil(std::min(timeout, kMaxTimeout) * 1000)));
  }
  auto program = std::make_unique<Program>(*this, mode, request.caller);
  Program* started = program.get();
  started->start(std::move(exec), timeout_ms);
  // open() refuses at once what is too large for it, and the program has answered by then.
  if (started->stream() != 0) running_.emplace(started->stream(), std::move(program));
}

void Programs::ended(Program& program) {
  if (const auto named = by_pid_.find(program.pid()); named != by_pid_.end() && named->second == &program) by_pid_.erase(named);
  const auto found = running_.find(program.stream());
  if (found == running_.end()) return;
  graveyard_.push_back(std::move(found->second));
  running_.erase(found);
}

Program* Programs::find(std::int64_t pid) noexcept {
  if (pid <= 0 || pid > 0xffffffff) return nullptr;
  const auto found = by_pid_.find(static_cast<std::uint32_t>(pid));
  return found == by_pid_.end() ? nullptr : found->second;
}

void Programs::resize(const Request& request) {
  Params params(request.params);
  const auto pid = params.integer("pid"), columns = params.integer("cols"), rows = params.integer("rows");
  if (!params.error().empty()) return state_.refuse(request.caller, params.error());
  if (columns < 0 || columns > 65535 || rows < 0 || rows > 65535)
    return state_.refuse(request.caller, "invalid params: cols and rows must be below 65536");
  if (columns == 0 || rows == 0) return state_.refuse(request.caller, "cols and rows are required");
  Program* program = find(pid);
  if (!program || !program->terminal()) return state_.refuse(request.caller, "no such pty process: " + std::to_string(pid));
  protocol::ExecControl control;
  control.resize.emplace();
  control.resize->columns = static_cast<std::uint16_t>(columns);
  control.resize->rows = static_cast<std::uint16_t>(rows);
  program->control(control);
  state_.answer(request.caller, "{\"success\":true}");
}

void Programs::signal(const Request& request) {
  Params params(request.params);
  const auto pid = params.integer("pid");
  const auto name = params.text("signal");
  if (!params.error().empty()) return state_.refuse(request.caller, params.error());
  Program* program = find(pid);
  if (!program) return state_.refuse(request.caller, "no such process: " + std::to_string(pid));
  protocol::ExecControl control;
  control.signal = static_cast<std::uint32_t>(signal_number(name));
  if (control.signal == 0) return state_.refuse(request.caller, "unsupported signal: " + name);
  program->control(control);
  state_.answer(request.caller, "{\"success\":true}");
}

void Programs::input(const Request& request) {
  Params params(request.params);
  const auto pid = params.integer("pid");
  const auto bytes = from_base64(params.text("data"));
  const bool eof = params.boolean("eof");
  if (!params.error().empty()) return state_.refuse(request.caller, params.error());
  if (!bytes) return state_.refuse(request.caller, "invalid params: data must be base64");
  Program* program = find(pid);
  if (!program) return state_.refuse(request.caller, "no such process: " + std::to_string(pid));
  if (!program->write(*bytes, eof)) return state_.refuse(request.caller, "the process does not read its input");
  state_.answer(request.caller, "{\"success\":true}");
}

void Programs::terminal_input(std::uint32_t pid, std::string_view bytes) {
  Program* program = find(pid);
  if (program && program->terminal()) program->write(bytes, false);
}

}  // namespace sandbox::agent::v1
