#include "agent/exec.hpp"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bitset>
#include <string>
#include <utility>
#include <vector>

#include "agent/children.hpp"
#include "agent/exec_table.hpp"
#include "agent/server.hpp"
#include "agent/spawn.hpp"
#include "core/sync_point.hpp"
#include "os/pty.hpp"

namespace sandbox::agent {
namespace {

using protocol::ExitCause;
using session::Channel;

/// A collected exec (max_output set, no stdin) may learn of its start together with its first output or its end, so
/// that a short program costs one write; but not later than this.
constexpr core::Duration kStartedGrace = std::chrono::milliseconds(5);
/// Output read per pipe before others get their turn.
constexpr int kReadsPerTurn = 4;

/// One pipe (or terminal) the program writes to.
struct Output {
  core::UniqueFd fd;              ///< empty: not used, or at its end
  Channel channel = Channel::out;
  bool watched = false;
  bool paused = false;            ///< the client gave no credit; on_writable goes on
  std::uint64_t total = 0;        ///< bytes read
  std::uint64_t dropped = 0;      ///< of these, not forwarded
};

/// What execve(2) gets, made from a request and the agent's environment.
struct ProgramImage {
  std::string program;
  std::string workdir;
  std::vector<std::string> own_entries;   ///< variables the request brought
  std::vector<char*> arguments, environment;
};

bool has_nul(std::string_view text) { return text.find('\0') != text.npos; }

Result<void> check(const protocol::ExecRequest& request) {
  const auto invalid = [](const char* what) { return Error(ErrorCode::invalid_argument, what).with_operation("exec"); };
  if (request.argv.empty() == request.shell.empty()) return invalid("either argv or shell must be given");
  if (request.argv.size() > protocol::kMaxArguments || request.env.size() > protocol::kMaxArguments)
    return invalid("too many arguments or variables");
  if (!request.argv.empty() && request.argv.front().empty()) return invalid("the program's name is empty");
  if (has_nul(request.shell) || std::any_of(request.argv.begin(), request.argv.end(), has_nul))
    return invalid("an argument contains NUL");
  for (const auto& [name, value] : request.env) {
    if (name.empty() || name.find('=') != name.npos || has_nul(name) || has_nul(value))
      return invalid("name of a variable is empty or contains '=' or NUL, or its value contains NUL");
  }
  if (!request.workdir.empty() && (request.workdir.front() != '/' || has_nul(request.workdir) ||
                                   request.workdir.size() > protocol::kMaxPath))
    return invalid("workdir must be an absolute path");
  return {};
}

/// Points into `request` and `base`, which must stay as they are until the program was started.
Result<ProgramImage> prepare(protocol::ExecRequest& request, const Environment& base, const std::string& workdir) {
  ProgramImage image;
  image.workdir = request.workdir.empty() ? workdir : request.workdir;

  if (!request.clear_env) image.environment = base.pointers();
  else image.environment.push_back(nullptr);
  image.environment.pop_back();
  if (request.pty) {
    const bool given = std::any_of(request.env.begin(), request.env.end(), [](const auto& e) { return e.key == "TERM"; });
    if (!given) request.env.push_back({"TERM", request.term.empty() ? "xterm-256color" : request.term});
  }
  image.own_entries.reserve(request.env.size());
  for (const auto& [name, value] : request.env) {
    std::string& entry = image.own_entries.emplace_back(name);
    entry += '=';
    const std::size_t prefix = entry.size();
    entry += value;
    const auto same = std::find_if(image.environment.begin(), image.environment.end(), [&](const char* old) {
      return std::string_view(old).substr(0, prefix) == std::string_view(entry).substr(0, prefix);
    });
    if (same != image.environment.end()) *same = entry.data();
    else image.environment.push_back(entry.data());
  }
  image.environment.push_back(nullptr);

  if (!request.shell.empty()) {
    request.argv = {"/bin/sh", "-c", std::move(request.shell)};
    image.program = request.argv.front();
  } else {
    std::string_view path;
    for (const char* entry : image.environment)
      if (entry && std::string_view(entry).starts_with("PATH=")) path = entry + 5;
    SANDBOX_TRY(image.program, find_program(request.argv.front(), path, image.workdir));
  }
  image.arguments.reserve(request.argv.size() + 1);
  for (auto& argument : request.argv) image.arguments.push_back(argument.data());
  image.arguments.push_back(nullptr);
  return image;
}

/// A descriptor numbered below 3 would be overwritten while 0, 1 and 2 are set up.
Result<void> keep_above_stdio(core::UniqueFd& fd) {
  if (fd.get() >= 3) return {};
  core::UniqueFd higher(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 3));
  if (!higher) return Error::from_errno(errno, "exec.pipe");
  fd = std::move(higher);
  return {};
}

struct PipeEnds {
  core::UniqueFd ours, programs;
};

/// `we_read`: ours is the reading end. Ours does not block; the program's does, as programs expect.
Result<PipeEnds> make_pipe(bool we_read) {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) return Error::from_errno(errno, "exec.pipe");
  PipeEnds ends{core::UniqueFd(fds[we_read ? 0 : 1]), core::UniqueFd(fds[we_read ? 1 : 0])};
  SANDBOX_CHECK(keep_above_stdio(ends.ours));
  SANDBOX_CHECK(keep_above_stdio(ends.programs));
  if (::fcntl(ends.ours.get(), F_SETFL, O_NONBLOCK) != 0) return Error::from_errno(errno, "exec.pipe");
  return ends;
}

void keep_for_replay(std::string& kept, std::uint64_t& forwarded, ByteView data) {
  const std::size_t room = ExecRecord::kMaxKept - kept.size();
  kept += as_text(data.first(std::min(room, data.size())));
  forwarded += data.size();
}

class ExecOperation final : public Operation, private ChildListener {
 public:
  using Operation::Operation;
  ~ExecOperation() override;

  Result<void> start(protocol::ExecRequest request, std::shared_ptr<ExecRecord> record);

  void on_message(ByteView message) override;
  void on_data(Channel channel, ByteView data, bool fin) override;
  void on_writable(Channel channel) override;
  void on_cancel() override;

 private:
  enum class Pumped {
    more,      ///< there may be more to read
    blocked,   ///< no credit; on_writable goes on
    empty,     ///< nothing there now
    ended,     ///< end of file; closed
  };

  void on_exit(int status, const rusage& usage) override;
  Result<void> start_on_pipes(const protocol::ExecRequest& request, ProgramImage& image);
  Result<void> start_on_terminal(const protocol::ExecRequest& request, ProgramImage& image);
  Result<void> run(ProgramImage& image, int input, int output, int error, bool terminal);

  Result<void> watch(Output& output);
  Pumped pump(Output& output);
  Pumped read_once(Output& output);
  void close_output(Output& output);
  void write_input();
  void close_input();
  void say_started();
  void on_timeout();
  void kill_everything();
  void finish_if_done();

  std::uint64_t max_output_ = 0;
  bool terminal_ = false;
  std::array<Output, 2> outputs_;
  core::UniqueFd input_;            ///< pipe to stdin; unused on a terminal
  bool input_watched_ = false;
  bool input_fin_ = false;          ///< the client sends no more
  std::string input_pending_;       ///< what the pipe did not take yet, at most one window
  std::size_t input_offset_ = 0;

  Lineage lineage_;
  core::TimePoint started_at_{};
  core::TimePoint ended_at_{};
  Loop::TimerId timeout_timer_ = 0;
  Loop::TimerId started_timer_ = 0;
  bool started_said_ = false;
  bool exited_ = false;
  bool timed_out_ = false, cancelled_ = false;
  bool killed_ = false;             ///< by us: whoever still holds the output is not waited for
  int status_ = 0;
  rusage usage_{};
  std::uint32_t oom_before_ = 0, oom_after_ = 0;
  std::bitset<65> sent_signals_;    ///< on behalf of the client
  std::shared_ptr<ExecRecord> record_;
};

ExecOperation::~ExecOperation() {
  if (timeout_timer_) context().loop.cancel_timer(timeout_timer_);
  if (started_timer_) context().loop.cancel_timer(started_timer_);
  for (auto& output : outputs_) close_output(output);
  close_input();
  Children& children = context().server.agent().children();
  if (lineage_.leader && !ended()) {
    // The session is gone, or the agent ends: nobody is left to tell.
    if (!exited_) children.forget(lineage_.leader);
    children.kill_all(lineage_);
    if (record_) {
      protocol::ExecOutcome outcome;
      outcome.cause = ExitCause::cancelled;
      outcome.signal = SIGKILL;
      record_->finish(outcome, context().loop.now());
    }
  }
}

Result<void> ExecOperation::start(protocol::ExecRequest request, std::shared_ptr<ExecRecord> record) {
  Agent& agent = context().server.agent();
  SANDBOX_TRY(auto image, prepare(request, agent.environment(), agent.workdir()));
  max_output_ = request.max_output;
  oom_before_ = oom_after_ = agent.oom_kills();
  if (request.pty) SANDBOX_CHECK(start_on_terminal(request, image));
  else SANDBOX_CHECK(start_on_pipes(request, image));
  record_ = std::move(record);
  if (record_) record_->pid = static_cast<std::uint32_t>(lineage_.leader);
  if (request.timeout_ms > 0) {
    // Longer than a year is as good as none, and safe to add.
    const auto timeout = std::chrono::milliseconds(std::min<std::uint64_t>(request.timeout_ms, 366ull * 24 * 3600 * 1000));
    timeout_timer_ = context().loop.at(started_at_ + timeout, [this] {
      timeout_timer_ = 0;
      on_timeout();
    });
  }
  if (max_output_ > 0 && !request.stdin_open && !request.pty) {
    started_timer_ = context().loop.at(started_at_ + kStartedGrace, [this] {
      started_timer_ = 0;
      say_started();
    });
  } else {
    say_started();
  }
  return {};
}

Result<void> ExecOperation::start_on_pipes(const protocol::ExecRequest& request, ProgramImage& image) {
  PipeEnds in, out, err;
  int input = context().server.agent().null_device();
  if (request.stdin_open) {
    SANDBOX_TRY(in, make_pipe(false));
    input = in.programs.get();
  } else if (input < 0) {
    return Error(ErrorCode::failed_precondition, "there is no /dev/null in this sandbox").with_operation("exec.setup");
  }
  SANDBOX_TRY(out, make_pipe(true));
  if (!request.merge_stderr) {
    SANDBOX_TRY(err, make_pipe(true));
  }
  input_ = std::move(in.ours);
  outputs_[0].fd = std::move(out.ours);
  outputs_[1].fd = std::move(err.ours);
  outputs_[1].channel = Channel::err;
  for (auto& output : outputs_) {
    if (output.fd) SANDBOX_CHECK(watch(output));
  }
  return run(image, input, out.programs.get(), (request.merge_stderr ? out : err).programs.get(), false);
}

Result<void> ExecOperation::start_on_terminal(const protocol::ExecRequest& request, ProgramImage& image) {
  SANDBOX_TRY(auto pty, os::open_pty(request.pty->rows, request.pty->columns));
  SANDBOX_CHECK(keep_above_stdio(pty.master));
  SANDBOX_CHECK(keep_above_stdio(pty.slave));
  terminal_ = true;
  outputs_[0].fd = std::move(pty.master);
  SANDBOX_CHECK(watch(outputs_[0]));
  return run(image, pty.slave.get(), pty.slave.get(), pty.slave.get(), true);
}

Result<void> ExecOperation::run(ProgramImage& image, int input, int output, int error, bool terminal) {
  Children& children = context().server.agent().children();
  lineage_.mark = children.new_mark();
  lineage_.started = Children::now_ticks();
  started_at_ = core::SteadyClock::now();
  SpawnRequest request;
  request.program = image.program.c_str();
  request.arguments = image.arguments.data();
  request.environment = image.environment.data();
  request.workdir = image.workdir.c_str();
  request.input = input;
  request.output = output;
  request.error = error;
  request.terminal = terminal;
  request.mark = lineage_.mark;
  request.mark_limit = children.mark_limit();
  request.open_files = context().server.agent().open_files();
  children.offer_to_oom_killer();
  SANDBOX_SYNC_POINT("agent.before_spawn");
  auto pid = spawn(request);
  children.leave_oom_killer();
  if (!pid) return std::move(pid).error();
  lineage_.leader = *pid;
  children.add(*pid, this);
  SANDBOX_SYNC_POINT("agent.spawned");
  return {};
}

void ExecOperation::say_started() {
  if (started_said_) return;
  started_said_ = true;
  protocol::ExecStarted started;
  started.pid = static_cast<std::uint32_t>(lineage_.leader);
  message(started);
}

// ---- output ---------------------------------------------------------------------------------------------------------

Result<void> ExecOperation::watch(Output& output) {
  SANDBOX_CHECK(context().loop.watch(output.fd.get(), EPOLLIN, [this, &output](std::uint32_t events) {
    if ((events & EPOLLOUT) != 0) write_input();   // a terminal is one descriptor both ways
    if ((events & ~EPOLLOUT) != 0) pump(output);
    finish_if_done();
  }));
  output.watched = true;
  return {};
}

ExecOperation::Pumped ExecOperation::pump(Output& output) {
  for (int reads = 0; output.fd && reads < kReadsPerTurn; ++reads) {
    const Pumped result = read_once(output);
    if (result == Pumped::ended) close_output(output);
    if (result != Pumped::more) return result;
  }
  return output.fd ? Pumped::more : Pumped::ended;
}

ExecOperation::Pumped ExecOperation::read_once(Output& output) {
  session::Session& session = context().session;
  const std::uint64_t forwarded = output.total - output.dropped;
  const bool dropping = cancelled_ || (max_output_ > 0 && forwarded >= max_output_);
  if (dropping && !terminal_) {
    // Straight from the pipe to /dev/null: a flood that nobody wants costs no copy.
    const ssize_t count = ::splice(output.fd.get(), nullptr, context().server.agent().null_device(), nullptr, 1 << 20,
                                   SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
    if (count > 0) {
      output.total += static_cast<std::uint64_t>(count);
      output.dropped += static_cast<std::uint64_t>(count);
      return Pumped::more;
    }
    if (count == 0) return Pumped::ended;
    if (errno == EAGAIN || errno == EINTR) return Pumped::empty;
    // Not allowed or not supported here: read and forget instead.
  }

  Scratch& scratch = context().server.agent().scratch();
  auto buffer = scratch.span();
  if (buffer.empty()) return Pumped::empty;   // out of memory: level-triggered, so tried again
  if (!dropping) {
    std::size_t room = session.writable(context().stream, output.channel);
    if (room == 0) {
      // Taking nothing is what makes the session call on_writable.
      const std::byte one{};
      session.send(context().stream, output.channel, ByteView(&one, 1));
      output.paused = true;
      if (output.watched) context().loop.pause(output.fd.get());
      return Pumped::blocked;
    }
    if (max_output_ > 0) room = static_cast<std::size_t>(std::min<std::uint64_t>(room, max_output_ - forwarded));
    buffer = buffer.first(std::min(room, buffer.size()));
  }
  const ssize_t count = ::read(output.fd.get(), buffer.data(), buffer.size());
  if (count < 0) {
    if (errno == EAGAIN || errno == EINTR) return Pumped::empty;
    return Pumped::ended;   // EIO: the last process on the terminal is gone (pty(7))
  }
  if (count == 0) return Pumped::ended;
  const ByteView data = buffer.first(static_cast<std::size_t>(count));
  scratch.touched(data.size());
  output.total += data.size();
  if (dropping) {
    output.dropped += data.size();
    return Pumped::more;
  }
  say_started();
  session.send(context().stream, output.channel, data);   // takes all of it: we asked for no more than it has room
  if (record_) {
    const bool is_out = output.channel == Channel::out;
    keep_for_replay(is_out ? record_->out : record_->err, is_out ? record_->out_forwarded : record_->err_forwarded, data);
  }
  return Pumped::more;
}

void ExecOperation::close_output(Output& output) {
  if (!output.fd) return;
  if (output.watched) context().loop.unwatch(output.fd.get());
  output.watched = output.paused = false;
  output.fd.reset();
}

void ExecOperation::on_writable(Channel channel) {
  for (auto& output : outputs_) {
    if (output.channel != channel || !output.paused || !output.fd) continue;
    output.paused = false;
    if (output.watched) context().loop.rewatch(output.fd.get(), EPOLLIN);
    pump(output);
  }
  finish_if_done();
}

// ---- input ----------------------------------------------------------------------------------------------------------

void ExecOperation::on_data(Channel channel, ByteView data, bool fin) {
  if (channel != Channel::in) return;
  const bool open = terminal_ ? static_cast<bool>(outputs_[0].fd) : static_cast<bool>(input_);
  if (!open) {
    // Nobody reads any more; the client must not wait for credit because of it.
    context().session.consumed(context().stream, channel, data.size());
    return;
  }
  input_pending_.append(as_text(data));
  input_fin_ = input_fin_ || fin;
  write_input();
}

void ExecOperation::write_input() {
  const int fd = terminal_ ? outputs_[0].fd.get() : input_.get();
  std::size_t done = 0;
  bool broken = fd < 0, full = false;
  while (!broken && !full && input_offset_ < input_pending_.size()) {
    const ssize_t count = ::write(fd, input_pending_.data() + input_offset_, input_pending_.size() - input_offset_);
    if (count > 0) {
      input_offset_ += static_cast<std::size_t>(count);
      done += static_cast<std::size_t>(count);
    } else if (count < 0 && errno == EAGAIN) {
      full = true;
    } else if (count == 0 || errno != EINTR) {
      broken = true;   // EPIPE: the program closed its stdin
    }
  }
  if (broken) done += input_pending_.size() - input_offset_;
  if (broken || input_offset_ == input_pending_.size()) {
    input_pending_ = {};
    input_offset_ = 0;
  }
  if (done > 0) context().session.consumed(context().stream, Channel::in, done);

  if (terminal_) {
    if (fd >= 0 && outputs_[0].watched && input_watched_ != full && !outputs_[0].paused) {
      context().loop.rewatch(fd, full ? EPOLLIN | EPOLLOUT : EPOLLIN);
      input_watched_ = full;
    }
    if (input_fin_ && input_pending_.empty() && fd >= 0) {
      input_fin_ = false;
      const char end_of_file = 4;   // VEOF of a fresh terminal, ^D: the only "end of file" a terminal has
      (void)!::write(fd, &end_of_file, 1);
    }
    return;
  }
  if (broken || (input_fin_ && input_pending_.empty())) return close_input();
  if (full && !input_watched_) {
    input_watched_ = true;
    context().loop.watch(fd, EPOLLOUT, [this](std::uint32_t) { write_input(); }).ignore("checked when more input comes");
  } else if (!full && input_watched_) {
    context().loop.unwatch(fd);
    input_watched_ = false;
  }
}

void ExecOperation::close_input() {
  if (!input_) return;
  if (input_watched_) context().loop.unwatch(input_.get());
  input_watched_ = false;
  input_.reset();
}

// ---- control and end ------------------------------------------------------------------------------------------------

void ExecOperation::on_message(ByteView message) {
  auto control = protocol::decode<protocol::ExecControl>(message);
  if (!control) {
    control.error().ignore("a malformed control message asks for nothing");
    return;
  }
  if (control->signal > 0 && control->signal <= 64) {
    sent_signals_.set(control->signal);
    if (control->signal == SIGKILL) {
      kill_everything();
    } else if (!exited_) {
      ::kill(-lineage_.leader, static_cast<int>(control->signal));
    }
  }
  if (control->resize && terminal_ && outputs_[0].fd)
    os::resize_pty(outputs_[0].fd.get(), control->resize->rows, control->resize->columns)
        .ignore("a terminal that is going away has no size");
  finish_if_done();
}

void ExecOperation::on_cancel() {
  if (ended()) return;
  cancelled_ = true;
  kill_everything();
  // What the client does not want to read must not keep it waiting.
  for (auto& output : outputs_) {
    if (!output.paused) continue;
    output.paused = false;
    if (output.watched) context().loop.rewatch(output.fd.get(), EPOLLIN);
  }
  finish_if_done();
}

void ExecOperation::on_timeout() {
  timed_out_ = true;
  kill_everything();
  finish_if_done();
}

void ExecOperation::kill_everything() {
  killed_ = true;
  context().server.agent().children().kill_all(lineage_);
}

void ExecOperation::on_exit(int status, const rusage& usage) {
  SANDBOX_SYNC_POINT("agent.exit_seen");
  exited_ = true;
  lineage_.leader_reaped = true;
  ended_at_ = core::SteadyClock::now();
  status_ = status;
  usage_ = usage;
  oom_after_ = context().server.agent().oom_kills();
  for (auto& output : outputs_)
    if (output.fd && !output.paused) pump(output);
  finish_if_done();
}

void ExecOperation::finish_if_done() {
  if (!exited_ || ended()) return;
  for (auto& output : outputs_) {
    if (!output.fd) continue;
    if (!killed_ && !terminal_) return;
    // Whoever else holds it is dead or about to be, or lost its terminal: what is in there now is all that counts.
    if (output.paused) return;
    const Pumped result = pump(output);
    if (result == Pumped::more) return;      // its watcher comes back
    if (result == Pumped::blocked) return;   // the client's credit does
    close_output(output);
  }

  SANDBOX_SYNC_POINT("agent.before_outcome");
  protocol::ExecOutcome outcome;
  if (WIFEXITED(status_)) {
    outcome.cause = ExitCause::exited;
    outcome.exit_code = static_cast<std::uint32_t>(WEXITSTATUS(status_));
  } else {
    const int signal = WTERMSIG(status_);
    outcome.signal = static_cast<std::uint32_t>(signal);
    outcome.core_dumped = WCOREDUMP(status_);
    if (signal == SIGKILL && timed_out_) outcome.cause = ExitCause::timed_out;
    else if (signal == SIGKILL && cancelled_) outcome.cause = ExitCause::cancelled;
    else if (sent_signals_[static_cast<std::size_t>(signal)]) outcome.cause = ExitCause::cancelled;
    else if (signal == SIGKILL && oom_after_ != oom_before_) outcome.cause = ExitCause::out_of_memory;
    else if (signal == SIGXCPU || signal == SIGXFSZ || signal == SIGSYS) outcome.cause = ExitCause::limit_hit;
    else outcome.cause = ExitCause::signalled;
  }
  outcome.out_total = outputs_[0].total;
  outcome.err_total = outputs_[1].total;
  outcome.out_dropped = outputs_[0].dropped;
  outcome.err_dropped = outputs_[1].dropped;
  const auto nanoseconds = [](const timeval& time) {
    return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(time.tv_usec) * 1000;
  };
  outcome.wall_ns = static_cast<std::uint64_t>(std::chrono::nanoseconds(ended_at_ - started_at_).count());
  outcome.user_ns = nanoseconds(usage_.ru_utime);
  outcome.system_ns = nanoseconds(usage_.ru_stime);
  outcome.max_rss_kib = static_cast<std::uint64_t>(usage_.ru_maxrss);
  outcome.oom_kills = oom_after_ - oom_before_;
  say_started();
  if (record_) record_->finish(outcome, context().loop.now());
  finish(outcome);
  SANDBOX_SYNC_POINT("agent.outcome_told");
}

// ---- replays --------------------------------------------------------------------------------------------------------

/// A second exec with the key of an earlier one: waits for its end, then gets the output that was kept and the outcome.
class ReplayOperation final : public Operation, public ExecRecord::Follower {
 public:
  ReplayOperation(Context context, std::shared_ptr<ExecRecord> record) : Operation(context), record_(std::move(record)) {
    protocol::ExecStarted started;
    started.pid = record_->pid;
    message(started);
    if (record_->finished) replay();
    else record_->followers.push_back(this);
  }
  ~ReplayOperation() override { std::erase(record_->followers, static_cast<ExecRecord::Follower*>(this)); }

  void on_data(Channel channel, ByteView data, bool) override {
    context().session.consumed(context().stream, channel, data.size());   // the first one's stdin is not shared
  }
  void on_writable(Channel) override { replay(); }

 private:
  void on_recorded() override { replay(); }

  void replay() {
    if (ended()) return;
    session::Session& session = context().session;
    const auto out = as_bytes(record_->out), err = as_bytes(record_->err);
    out_sent_ += session.send(context().stream, Channel::out, out.subspan(out_sent_));
    err_sent_ += session.send(context().stream, Channel::err, err.subspan(err_sent_));
    if (out_sent_ < out.size() || err_sent_ < err.size()) return;
    protocol::ExecOutcome outcome = record_->outcome;
    outcome.out_dropped += record_->out_forwarded - out.size();
    outcome.err_dropped += record_->err_forwarded - err.size();
    finish(outcome);
  }

  std::shared_ptr<ExecRecord> record_;
  std::size_t out_sent_ = 0, err_sent_ = 0;
};

}  // namespace

Result<std::unique_ptr<Operation>> make_exec(Context context, ByteView params, std::string_view idempotency_key) {
  SANDBOX_TRY(auto request, protocol::decode<protocol::ExecRequest>(params));
  SANDBOX_CHECK(check(request));
  ExecTable& table = context.server.agent().execs();
  std::shared_ptr<ExecRecord> record;
  if (!idempotency_key.empty()) {
    if (idempotency_key.size() > ExecTable::kMaxKey)
      return Error(ErrorCode::invalid_argument, "idempotency key longer than 64 bytes").with_operation("exec");
    const std::size_t hash = std::hash<std::string_view>()(as_text(params));
    if (auto earlier = table.find(idempotency_key)) {
      if (earlier->request_hash != hash)
        return Error(ErrorCode::invalid_argument, "idempotency key was used for another request").with_operation("exec");
      return std::unique_ptr<Operation>(std::make_unique<ReplayOperation>(context, std::move(earlier)));
    }
    record = table.add(idempotency_key, hash);
  }
  auto operation = std::make_unique<ExecOperation>(context);
  if (auto started = operation->start(std::move(request), record); !started) {
    if (record) table.remove(record->key);
    return std::move(started).error();
  }
  return std::unique_ptr<Operation>(std::move(operation));
}

}  // namespace sandbox::agent
