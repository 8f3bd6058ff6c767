#include "backends/native/instance.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "backends/native/adoption.hpp"
#include "core/sync_point.hpp"
#include "os/syscalls.hpp"
#include "protocol/frame.hpp"

namespace sandbox::native {
namespace {

using core::TimePoint;
using core::UniqueFd;

constexpr auto kPatience = std::chrono::seconds(10);
/// How long the end of a process whose socket is closed already may take to show.
constexpr auto kEnding = std::chrono::seconds(1);

/// poll of one descriptor; the events seen, 0 at the deadline.
short wait_for(int fd, short events, TimePoint deadline) {
  for (;;) {
    pollfd one{fd, events, 0};
    const int ready = ::poll(&one, 1, core::poll_timeout(deadline));
    if (ready < 0 && errno == EINTR) continue;
    return ready > 0 ? one.revents : short{0};
  }
}

Error failed_launch(const launch::Outcome& outcome) {
  if (!outcome.operation.empty()) {
    const bool scarce = Error::from_errno(outcome.sys_errno, outcome.operation).code() == ErrorCode::resource_exhausted;
    return Error(scarce ? ErrorCode::resource_exhausted : ErrorCode::failed_precondition, outcome.message)
        .with_operation(outcome.operation)
        .with_errno(outcome.sys_errno);
  }
  return Error(ErrorCode::unavailable, outcome.signal ? "the agent was killed by signal " + std::to_string(outcome.signal) +
                                                            (outcome.oom_kills ? ": the memory limit is too small to start" : "")
                                                      : "the agent ended with code " + std::to_string(outcome.exit_code))
      .with_operation("native.agent");
}

}  // namespace

TimePoint soon() { return core::SteadyClock::now() + kPatience; }

std::string describe(const launch::Outcome& outcome) {
  if (outcome.oom_kills > 0) return "out of memory (" + std::to_string(outcome.oom_kills) + " killed)";
  if (!outcome.operation.empty()) return outcome.operation + ": " + outcome.message;
  if (outcome.signal != 0) return "killed by signal " + std::to_string(outcome.signal);
  return "its first process ended with code " + std::to_string(outcome.exit_code);
}

NativeInstance::NativeInstance(std::shared_ptr<Launcher> launcher, std::shared_ptr<const Expectation> expected, std::uint64_t id,
                               UniqueFd stream, UniqueFd pidfd, TimePoint began, bool paused)
    : launcher_(std::move(launcher)),
      expected_(std::move(expected)),
      id_(id),
      stream_(std::move(stream)),
      pidfd_(std::move(pidfd)),
      began_(began),
      paused_(paused) {
  launcher_->living.fetch_add(1, std::memory_order_relaxed);
}

NativeInstance::~NativeInstance() { destroy().ignore("the launcher takes it away at the latest when it ends"); }

Result<void> NativeInstance::destroy() {
  std::lock_guard lock(mutex_);
  if (destroyed_) return {};
  destroyed_ = true;
  SANDBOX_SYNC_POINT("native.before_destroy");
  launcher_->living.fetch_sub(1, std::memory_order_relaxed);
  // A launcher that outlives us must know that this end was wanted, should ours come in between.
  if (launcher_->persistent) launcher_->tell(launch::Kind::destroy, target());
  // The kill comes from here: no other process has to wake up first. What the sandbox used on the host is the
  // launcher's to give back, and it does so when it sees the end.
  SANDBOX_SYNC_POINT("native.before_kill");
  const bool killed = !paused_ && os::pidfd_send_signal(pidfd_.get(), SIGKILL) != -EPERM;
  SANDBOX_SYNC_POINT("native.killed");
  if (!killed && launcher_->persistent) {
    // The launcher kills it, frozen or not.
  } else if (!killed) {
    SANDBOX_TRY(auto done, launcher_->call(launch::Kind::destroy, target(), soon()));
    (void)done;
    return {};
  }
  if (!launcher_->persistent) launcher_->tell(launch::Kind::destroy, target());
  SANDBOX_SYNC_POINT("native.destroy_told");
  if (!wait_for(pidfd_.get(), POLLIN, soon()))
    return Error(ErrorCode::deadline_exceeded, "the sandbox's processes did not end").with_operation("native.destroy");
  // The launcher lets go of the layers when it sees the end. Whoever removes them after us must not find them in use.
  if (launcher_->persistent && expected_->holds_layers) {
    auto forgotten = launcher_->call(launch::Kind::destroy, target(), soon());
    if (!forgotten) forgotten.error().ignore("not_found: it has, already; otherwise they are said to be in use");
  }
  return {};
}

Result<SandboxStats> NativeInstance::stats() {
  SANDBOX_TRY(auto answer, launcher_->call(launch::Kind::stats, target(), soon()));
  SANDBOX_TRY(auto raw, protocol::decode<launch::Stats>(as_bytes(answer.body)));
  SandboxStats stats;
  stats.cpu_time = std::chrono::nanoseconds(raw.cpu_ns);
  stats.memory = ByteCount(raw.memory_current);
  stats.memory_peak = ByteCount(raw.memory_peak);
  stats.memory_limit = ByteCount(expected_->memory);
  stats.pids = raw.pids_current;
  stats.network_rx_bytes = raw.rx_bytes;
  stats.network_tx_bytes = raw.tx_bytes;
  stats.disk_used = ByteCount(raw.disk_used);
  stats.inodes_used = raw.inodes_used;
  stats.oom_kills = raw.oom_kills;
  stats.uptime = core::SteadyClock::now() - began_;
  return stats;
}

Result<void> NativeInstance::freeze(bool briefly) {
  launch::Freeze request;
  request.id = id_;
  request.briefly = briefly;
  std::lock_guard lock(mutex_);
  paused_ = true;
  SANDBOX_TRY(auto answer, launcher_->call(launch::Kind::freeze, protocol::encode(request), soon()));
  (void)answer;
  return {};
}

Result<void> NativeInstance::resume() {
  std::lock_guard lock(mutex_);
  SANDBOX_CHECK(simple(launch::Kind::thaw));
  paused_ = false;
  return {};
}

Result<UniqueFd> NativeInstance::connect(std::uint16_t port, TimePoint deadline) {
  launch::Port request;
  request.id = id_;
  request.port = port;
  request.timeout_ms = static_cast<std::uint32_t>(std::max(1, core::poll_timeout(std::min(deadline, core::SteadyClock::now() + std::chrono::hours(1)))));
  SANDBOX_TRY(auto answer, launcher_->call(launch::Kind::connect, protocol::encode(request), deadline));
  if (answer.fds.size() != 1) return Error(ErrorCode::protocol, "no socket came with the answer").with_operation("native.connect");
  return std::move(answer.fds.front());
}

Result<bool> NativeInstance::listening(std::uint16_t port) {
  launch::Port request;
  request.id = id_;
  request.port = port;
  SANDBOX_TRY(auto answer, launcher_->call(launch::Kind::listening, protocol::encode(request), soon()));
  SANDBOX_TRY(auto found, protocol::decode<launch::Listening>(as_bytes(answer.body)));
  return found.listening;
}

Result<backend::Instance::Writable> NativeInstance::writable() {
  SANDBOX_TRY(auto answer, launcher_->call(launch::Kind::writable, target(), soon()));
  SANDBOX_TRY(auto facts, protocol::decode<launch::Writable>(as_bytes(answer.body)));
  if (answer.fds.size() != 1) return Error(ErrorCode::protocol, "no directory came with the answer").with_operation("native.writable");
  Writable writable;
  writable.directory = std::move(answer.fds.front());
  writable.first_id = facts.first_id;
  return writable;
}

std::uint64_t NativeInstance::oom_kills() {
  auto outcome = ended();
  if (!outcome) {
    outcome.error().ignore("unknown counts as none");
    return 0;
  }
  return outcome->oom_kills;
}

Result<launch::Outcome> NativeInstance::ended() {
  SANDBOX_TRY(auto answer, launcher_->call(launch::Kind::outcome, target(), soon()));
  return protocol::decode<launch::Outcome>(as_bytes(answer.body));
}

std::string NativeInstance::target() const {
  launch::Target target;
  target.id = id_;
  return protocol::encode(target);
}

Result<void> NativeInstance::simple(launch::Kind kind) {
  SANDBOX_TRY(auto answer, launcher_->call(kind, target(), soon()));
  (void)answer;
  return {};
}

Error NativeInstance::explain(Error seen) {
  if (seen.code() == ErrorCode::deadline_exceeded)
    return Error(ErrorCode::deadline_exceeded, "the agent did not start in time").with_operation("native.launch").with_cause(std::move(seen));
  if (seen.code() != ErrorCode::unavailable && seen.code() != ErrorCode::protocol) return seen;
  // The end of the stream comes before the end of the process whose it was; another process keeps it open or not at all.
  if (!wait_for(pidfd_.get(), POLLIN, core::SteadyClock::now() + kEnding)) return seen;
  auto outcome = ended();
  if (!outcome) {
    outcome.error().ignore("then what was seen is all there is");
    return seen;
  }
  seen.ignore("the outcome says more");
  return failed_launch(*outcome);
}

Result<void> NativeInstance::greet(TimePoint deadline) {
  protocol::Hello greeting;
  greeting.software = "sandbox-launcher-probe";
  greeting.max_frame = protocol::kMinMaxFrame;
  const std::string hello = protocol::encode(greeting);
  protocol::FrameHeader header;
  header.length = static_cast<std::uint32_t>(hello.size());
  std::string packet(protocol::kFrameHeader, '\0');
  protocol::encode(header, reinterpret_cast<std::byte*>(packet.data()));
  packet += hello;
  // A socket nobody has written to takes this much; one whose other end is gone shows below.
  (void)!::send(stream_.get(), packet.data(), packet.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (!wait_for(stream_.get(), POLLIN, deadline)) return explain(Error(ErrorCode::deadline_exceeded, "no hello from the agent"));
  char byte;
  if (::recv(stream_.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0) return {};
  return explain(Error(ErrorCode::unavailable, "the agent closed its socket").with_operation("native.agent"));
}

Result<void> NativeInstance::commit(std::string_view record) {
  if (!launcher_->persistent) return {};
  launch::Commit request;
  request.id = id_;
  request.record = protocol::encode(Record::of(*expected_, record));
  SANDBOX_CHECK(launch::validate(request));  // nobody hears a refusal of the launcher's
  SANDBOX_SYNC_POINT("native.before_commit");
  SANDBOX_CHECK(launcher_->try_note(launch::Kind::commit, protocol::encode(request)));
  SANDBOX_SYNC_POINT("native.committed");
  return {};
}

void NativeInstance::leave() noexcept {
  std::lock_guard lock(mutex_);
  if (std::exchange(destroyed_, true)) return;
  launcher_->living.fetch_sub(1, std::memory_order_relaxed);
}

}  // namespace sandbox::native
