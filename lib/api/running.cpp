#include "api/running.hpp"

#include <csignal>
#include <utility>

#include "api/arguments.hpp"

namespace sandbox {
namespace {

using session::Channel;

/// Pieces that arrive faster than they are read are joined up to this size.
constexpr std::size_t kChunk = 64 << 10;

core::TimePoint after(std::chrono::milliseconds timeout) { return core::SteadyClock::now() + timeout; }

}  // namespace

RunningProcess::RunningProcess(std::shared_ptr<State> state) noexcept : state_(std::move(state)) {}
RunningProcess::RunningProcess(RunningProcess&&) noexcept = default;
RunningProcess& RunningProcess::operator=(RunningProcess&& other) noexcept {
  if (this != &other) {
    if (state_) state_->abandon();
    state_ = std::move(other.state_);
  }
  return *this;
}
RunningProcess::~RunningProcess() {
  if (state_) state_->abandon();
}

void RunningProcess::close() noexcept { state_->abandon(); }
std::uint32_t RunningProcess::pid() const noexcept { return state_->pid; }

Result<std::optional<OutputChunk>> RunningProcess::read() { return state_->read(core::TimePoint::max()); }
Result<std::optional<OutputChunk>> RunningProcess::read_for(std::chrono::milliseconds timeout) { return state_->read(after(timeout)); }
Result<ExitStatus> RunningProcess::wait() { return state_->wait(core::TimePoint::max()); }
Result<ExitStatus> RunningProcess::wait_for(std::chrono::milliseconds timeout) { return state_->wait(after(timeout)); }

Result<void> RunningProcess::write(ByteView bytes) {
  std::size_t sent = 0;
  SANDBOX_TRY(auto done, state_->await<Result<void>>([&] { return state_->poll_write(bytes, sent); }, core::TimePoint::max()));
  return *std::move(done);
}

Result<void> RunningProcess::close_stdin() {
  return state_->link().with([&](session::Session& session) -> Result<void> {
    if (!state_->stdin_open) return {};
    state_->stdin_open = false;
    if (!state_->over()) session.send(state_->stream_id(), Channel::in, {}, true);
    return {};
  });
}

Result<void> RunningProcess::signal(int signal) {
  if (signal < 1 || signal > 64) return api::bad_argument("signal", "not a signal number");
  protocol::ExecControl control;
  control.signal = static_cast<std::uint32_t>(signal);
  return state_->control(control);
}

Result<void> RunningProcess::resize(TerminalSize size) {
  if (!state_->has_pty) return Error(ErrorCode::failed_precondition, "the program does not run on a terminal");
  if (size.rows == 0 || size.columns == 0) return api::bad_argument("size", "has no rows or columns");
  protocol::ExecControl control;
  control.resize = protocol::WindowSize{size.rows, size.columns};
  return state_->control(control);
}

Result<void> RunningProcess::kill() {
  return state_->link().with([&](session::Session& session) -> Result<void> {
    if (!state_->over()) session.cancel(state_->stream_id());
    return {};
  });
}

// ---- State ------------------------------------------------------------------------------------------------------------

Result<std::shared_ptr<RunningProcess::State>> RunningProcess::State::start(const std::shared_ptr<driver::Box>& box, const Command& cmd) {
  SANDBOX_TRY(const auto request, api::make_request(cmd, api::Use::spawn));
  auto state = std::make_shared<State>(box);
  state->has_pty = cmd.pty().has_value();
  state->stdin_open = cmd.stdin_open();
  if (cmd.stdin_text()) state->stdin_ = api::StdinFeed(*cmd.stdin_text());
  state->open(protocol::Method::exec, protocol::encode(request), cmd.idempotency_key());
  return state;
}

Result<RunningProcess> RunningProcess::State::spawn(const std::shared_ptr<driver::Box>& box, const Command& cmd) {
  SANDBOX_CHECK(api::may_block(*box));
  SANDBOX_TRY(auto state, start(box, cmd));
  RunningProcess process(state);  // from here on leaving kills it
  SANDBOX_TRY(auto running, state->await<Result<void>>([&] { return state->poll_started(); }, core::TimePoint::max()));
  SANDBOX_CHECK(*std::move(running));
  return process;
}

void RunningProcess::State::on_message(ByteView message) {
  if (started) return;
  auto running = protocol::decode<protocol::ExecStarted>(message);
  if (!running) return running.error().ignore("a message this version does not know");
  pid = running->pid;
  started = true;
  changed();
}

void RunningProcess::State::on_data(Channel channel, ByteView data, bool) {
  const auto which = channel == Channel::err ? OutputChunk::Stream::err : OutputChunk::Stream::out;
  if (data.empty()) return changed();
  if (waiting > 0) {
    (which == OutputChunk::Stream::err ? dropped_err : dropped_out) += data.size();
    return session().consumed(stream(), channel, data.size());
  }
  if (output.empty() || output.back().stream != which || output.back().bytes.size() + data.size() > kChunk) {
    output.emplace_back().stream = which;
  }
  auto& bytes = output.back().bytes;
  bytes.insert(bytes.end(), data.begin(), data.end());
  changed();
}

void RunningProcess::State::on_writable(Channel) {
  stdin_.pump(session(), stream());
  changed();
}

void RunningProcess::State::ended() {
  stdin_open = false;
  if (error()) return;
  const auto read = [](ByteView text) -> Result<ExitStatus> {
    SANDBOX_TRY(const auto outcome, protocol::decode<protocol::ExecOutcome>(text));
    return api::to_status(outcome);
  };
  if (auto told = read(reply())) status = *told;
  else told.error().ignore("poll_status says so");
}

void RunningProcess::State::drop_output() {
  for (const auto& chunk : std::exchange(output, {})) {
    const bool is_err = chunk.stream == OutputChunk::Stream::err;
    (is_err ? dropped_err : dropped_out) += chunk.bytes.size();
    if (!over()) session().consumed(stream(), is_err ? Channel::err : Channel::out, chunk.bytes.size());
  }
}

std::optional<Result<void>> RunningProcess::State::poll_started() {
  if (started) return Result<void>();
  if (!over()) return std::nullopt;
  if (error()) return Result<void>(*error());
  started = true;  // it is over already, with an outcome (a repeated idempotency key): that is a start too
  return Result<void>();
}

std::optional<Result<std::optional<OutputChunk>>> RunningProcess::State::poll_output() {
  using R = Result<std::optional<OutputChunk>>;
  if (!output.empty()) {
    OutputChunk chunk = std::move(output.front());
    output.pop_front();
    const auto channel = chunk.stream == OutputChunk::Stream::err ? Channel::err : Channel::out;
    if (!over()) session().consumed(stream(), channel, chunk.bytes.size());
    return R(std::optional<OutputChunk>(std::move(chunk)));
  }
  if (!over()) return std::nullopt;
  if (error()) return R(*error());
  return R(std::optional<OutputChunk>());
}

std::optional<Result<ExitStatus>> RunningProcess::State::poll_status() {
  if (!over()) return std::nullopt;
  if (error()) return Result<ExitStatus>(*error());
  if (!status) return Result<ExitStatus>(Error(ErrorCode::protocol, "the agent did not say how the program ended").with_origin(Origin::guest));
  ExitStatus told = *status;
  told.stdout_dropped += dropped_out;
  told.stderr_dropped += dropped_err;
  return Result<ExitStatus>(told);
}

std::optional<Result<void>> RunningProcess::State::poll_write(ByteView bytes, std::size_t& sent) {
  if (over() || !stdin_open) {
    if (over() && error()) return Result<void>(*error());
    return Result<void>(Error(ErrorCode::failed_precondition, "standard input is closed"));
  }
  if (sent < bytes.size()) sent += session().send(stream(), Channel::in, bytes.subspan(sent));
  if (sent < bytes.size()) return std::nullopt;
  return Result<void>();
}

Result<std::optional<OutputChunk>> RunningProcess::State::read(core::TimePoint deadline) {
  SANDBOX_TRY(auto chunk, await<Result<std::optional<OutputChunk>>>([&] { return poll_output(); }, deadline));
  if (!chunk) return Error(ErrorCode::deadline_exceeded, "no output in time");
  return *std::move(chunk);
}

Result<ExitStatus> RunningProcess::State::wait(core::TimePoint deadline) {
  link().with([&](session::Session&) {
    ++waiting;
    drop_output();
  });
  auto ended = await<Result<ExitStatus>>([&] { return poll_status(); }, deadline);
  link().with([&](session::Session&) { --waiting; });
  if (!ended) return std::move(ended).error();
  if (!*ended) return Error(ErrorCode::deadline_exceeded, "the program still runs");
  return **std::move(ended);
}

Result<void> RunningProcess::State::control(const protocol::ExecControl& control) {
  return link().with([&](session::Session& session) -> Result<void> {
    if (over()) return {};
    return session.send_message(stream(), protocol::encode(control));
  });
}

}  // namespace sandbox
