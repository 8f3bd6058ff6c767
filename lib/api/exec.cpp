#include "api/exec.hpp"

#include <algorithm>
#include <array>
#include <csignal>

#include "api/arguments.hpp"
#include "api/running.hpp"
#include "core/text.hpp"
#include "crypto/secret.hpp"

namespace sandbox {

std::string_view name(ExitCause cause) noexcept {
  switch (cause) {
    case ExitCause::exited: return "exited";
    case ExitCause::signalled: return "signalled";
    case ExitCause::timed_out: return "timed_out";
    case ExitCause::out_of_memory: return "out_of_memory";
    case ExitCause::limit_hit: return "limit_hit";
    case ExitCause::cancelled: return "cancelled";
  }
  return "unknown";
}

int ExitStatus::shell_code() const noexcept {
  if (cause == ExitCause::exited) return exit_code;
  if (cause == ExitCause::timed_out) return 124;
  return 128 + signal;
}

Result<ExecResult> Process::exec(Command cmd) {
  if (!box_->link()->reconnects_by_itself()) {
    SANDBOX_TRY(auto operation, api::Exec::make_exec(cmd));
    return api::perform(*box_, operation);
  }
  // Should the agent have forgotten the session, nobody can tell whether the program ran; with a key it is safe to ask again.
  if (cmd.idempotency_key().empty()) {
    SANDBOX_TRY(std::string key, api::random_key());
    cmd.idempotency_key(std::move(key));
  }
  for (int left = api::kRepeats;; --left) {
    SANDBOX_TRY(auto operation, api::Exec::make_exec(cmd));
    auto outcome = api::perform(*box_, operation);
    if (outcome || left == 0 || outcome.error().code() != ErrorCode::unavailable || outcome.error().retry() != Retry::now) return outcome;
    outcome.ignore("asked again with the same key");
  }
}

Result<RunningProcess> Process::spawn(Command cmd) { return RunningProcess::State::spawn(box_, cmd); }

}  // namespace sandbox

namespace sandbox::api {

Result<std::string> random_key() {
  std::array<std::byte, 16> random;
  SANDBOX_CHECK(crypto::fill_random(random));
  return core::to_hex(random.data(), random.size());
}

Result<ExitStatus> to_status(const protocol::ExecOutcome& outcome) {
  // An agent that names no cause we know did not tell how the program ended, and nobody else can.
  if (outcome.cause < protocol::ExitCause::exited || outcome.cause > protocol::ExitCause::cancelled) {
    return Error(ErrorCode::protocol, "the agent did not say how the program ended").with_operation("exec").with_origin(Origin::guest);
  }
  ExitStatus status;
  status.cause = static_cast<ExitCause>(outcome.cause);
  status.exit_code = static_cast<int>(outcome.exit_code & 0xff);
  status.signal = static_cast<int>(outcome.signal & 0x7f);
  status.core_dumped = outcome.core_dumped;
  status.oom_kills = outcome.oom_kills;
  status.stdout_bytes = outcome.out_total;
  status.stderr_bytes = outcome.err_total;
  status.stdout_dropped = outcome.out_dropped;
  status.stderr_dropped = outcome.err_dropped;
  status.wall_time = std::chrono::nanoseconds(outcome.wall_ns);
  status.user_time = std::chrono::nanoseconds(outcome.user_ns);
  status.system_time = std::chrono::nanoseconds(outcome.system_ns);
  status.max_rss = ByteCount::kib(outcome.max_rss_kib);
  return status;
}

Result<Exec> Exec::make_exec(const Command& cmd) {
  SANDBOX_TRY(const auto request, make_request(cmd, Use::collect));
  Exec exec(protocol::Method::exec, protocol::encode(request), cmd.idempotency_key());
  exec.cap_ = cmd.max_output() ? cmd.max_output()->bytes() : protocol::kDefaultMaxOutput;
  if (cmd.timeout().count() > 0) exec.patience_ = cmd.timeout() + kGrace;
  if (cmd.stdin_text()) exec.stdin_ = StdinFeed(*cmd.stdin_text());
  return exec;
}

void Exec::on_data(session::Channel channel, ByteView data, bool) {
  Bytes& kept = channel == session::Channel::err ? err_ : out_;
  auto& dropped = channel == session::Channel::err ? err_dropped_ : out_dropped_;
  const std::size_t room = cap_ - std::min<std::uint64_t>(cap_, kept.size());
  const auto keep = data.first(std::min(room, data.size()));
  kept.insert(kept.end(), keep.begin(), keep.end());
  dropped += data.size() - keep.size();
  session().consumed(stream(), channel, data.size());
}

void Exec::on_writable(session::Channel) { stdin_.pump(session(), stream()); }

Result<ExecResult> Exec::make() {
  SANDBOX_TRY(const auto outcome, protocol::decode<protocol::ExecOutcome>(reply()));
  ExecResult result;
  SANDBOX_TRY(const ExitStatus status, to_status(outcome));
  static_cast<ExitStatus&>(result) = status;
  result.stdout_dropped += out_dropped_;
  result.stderr_dropped += err_dropped_;
  result.stdout_bytes_kept = std::move(out_);
  result.stderr_bytes_kept = std::move(err_);
  return result;
}

}  // namespace sandbox::api
