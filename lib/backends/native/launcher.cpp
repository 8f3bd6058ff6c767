#include "backends/native/launcher.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>

#include <cerrno>

#include "core/sync_point.hpp"
#include "os/fd_passing.hpp"
#include "os/syscalls.hpp"
#include "protocol/build_id.hpp"

namespace sandbox::native {
namespace {

Error too_late() { return Error(ErrorCode::deadline_exceeded, "the launcher did not answer in time").with_operation("native.launcher"); }
Error gone() { return Error(ErrorCode::unavailable, "the launcher has ended").with_operation("native.launcher"); }

}  // namespace

Result<std::shared_ptr<Launcher>> Launcher::start(int program, int agent, const launch::Configure& configure, core::TimePoint deadline) {
  SANDBOX_TRY(auto ends, os::socket_pair(SOCK_SEQPACKET));
  const int passed[] = {ends.second.get()};
  SANDBOX_SYNC_POINT("native.before_launcher");
  SANDBOX_TRY(auto process, os::PidfdProcess::spawn(program, {"sandbox-launcher"}, passed));
  ends.second.reset();
  SANDBOX_SYNC_POINT("native.launcher_spawned");
  std::shared_ptr<Launcher> launcher(new Launcher(std::move(ends.first), std::move(process)));
  SANDBOX_CHECK(launcher->configure(agent, configure, deadline));
  return launcher;
}

Result<std::shared_ptr<Launcher>> Launcher::take_over(core::UniqueFd socket, int agent, const launch::Configure& configure,
                                                      core::TimePoint deadline) {
  SANDBOX_SYNC_POINT("native.before_take_over");
  std::shared_ptr<Launcher> launcher(new Launcher(std::move(socket)));
  launcher->persistent = launcher->was_taken_over_ = true;
  if (auto configured = launcher->configure(agent, configure, deadline); !configured) {
    launcher->leave();
    return std::move(configured).error();
  }
  SANDBOX_SYNC_POINT("native.taken_over");
  launcher->taken_over_ = core::UniqueFd(os::pidfd_open(static_cast<int>(launcher->facts_.pid)));
  return launcher;
}

Result<void> Launcher::configure(int agent, const launch::Configure& configure, core::TimePoint deadline) {
  SANDBOX_TRY(auto notes, os::socket_pair(SOCK_SEQPACKET | SOCK_NONBLOCK));
  notes_ = std::move(notes.first);
  const int fds[] = {agent, notes.second.get()};
  SANDBOX_TRY(auto answer, call(launch::Kind::configure, protocol::encode(configure), deadline, fds));
  SANDBOX_TRY(facts_, protocol::decode<launch::Configured>(as_bytes(answer.body)));
  if (facts_.build != protocol::build_id()) return launch::build_mismatch("sandbox-launcher", facts_.build);
  return {};
}

Launcher::~Launcher() { close(core::SteadyClock::now() + std::chrono::seconds(5)); }

Result<void> Launcher::send(const std::string& packet, std::span<const int> fds, core::TimePoint deadline) {
  // MSG_DONTWAIT by hand: the socket blocks, so look first. Packets of ours are small beside its buffer.
  for (;;) {
    pollfd room{socket_.get(), POLLOUT, 0};
    const int ready = ::poll(&room, 1, core::poll_timeout(deadline));
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0) return too_late();
    if (room.revents & (POLLHUP | POLLERR)) return gone();
    return os::send_packet(socket_.get(), as_bytes(packet), fds);
  }
}

Result<Launcher::Answer> Launcher::call(launch::Kind kind, std::string body, core::TimePoint deadline, std::span<const int> fds) {
  launch::Request request;
  request.kind = kind;
  request.body = std::move(body);
  Waiter waiter;
  {
    std::lock_guard lock(mutex_);
    if (closed_.load(std::memory_order_acquire)) return gone();
    request.number = ++next_number_;
    waiters_.emplace(request.number, &waiter);
  }
  const std::string packet = protocol::encode(request);
  auto sent = packet.size() <= launch::kMaxMessage
                  ? send(packet, fds, deadline)
                  : Result<void>(Error(ErrorCode::invalid_argument, "the plan is too large").with_operation("native.plan"));
  std::unique_lock lock(mutex_);
  // A launcher that cannot start tells why and ends: look for its word even when sending failed.
  if (!sent && sent.error().code() != ErrorCode::unavailable) {
    waiters_.erase(request.number);
    return std::move(sent).error();
  }
  if (!sent) sent.error().ignore("the launcher's own last word, or its end, says more");
  Result<void> read;
  while (!waiter.done && read) {
    if (!reading_) {
      read = read_one(lock, deadline);
    } else if (deadline == core::TimePoint::max()) {
      waiter.wake.wait(lock);
    } else if (waiter.wake.wait_until(lock, deadline) == std::cv_status::timeout && !waiter.done) {
      read = too_late();
    }
  }
  waiters_.erase(request.number);
  // Somebody else may be waiting for a reader.
  if (!reading_ && !waiters_.empty()) waiters_.begin()->second->wake.notify_one();
  if (!waiter.done) {
    if (kind == launch::Kind::create && read.error().code() == ErrorCode::deadline_exceeded) abandoned_creates_.insert(request.number);
    return std::move(read).error();
  }
  if (!read) read.error().ignore("the reply came all the same");
  lock.unlock();
  if (waiter.reply.code != 0) return launch::error_of(waiter.reply);
  return Answer{std::move(waiter.reply.body), std::move(waiter.fds)};
}

Result<void> Launcher::read_one(std::unique_lock<std::mutex>& lock, core::TimePoint deadline) {
  reading_ = true;
  lock.unlock();
  Result<os::Packet> packet = too_late();
  packet.error().ignore("a placeholder");
  pollfd news{socket_.get(), POLLIN, 0};
  int ready;
  do {
    ready = ::poll(&news, 1, core::poll_timeout(deadline));
  } while (ready < 0 && errno == EINTR);
  if (ready > 0) packet = os::receive_packet(socket_.get(), std::span(buffer_.get(), launch::kMaxMessage), MSG_DONTWAIT);
  lock.lock();
  reading_ = false;
  if (ready == 0) return too_late();
  if (!packet) {
    if (packet.error().sys_errno() == EAGAIN) return {};
    lose(packet.error());
    return gone();
  }
  auto reply = protocol::decode<launch::Reply>(ByteView(buffer_.get(), packet->size));
  if (!reply) {
    lose(reply.error());
    return std::move(reply).error();
  }
  dispatch(*std::move(reply), std::move(packet->fds));
  return {};
}

void Launcher::dispatch(launch::Reply reply, std::vector<core::UniqueFd> fds) {
  const auto found = waiters_.find(reply.number);
  if (found == waiters_.end()) {
    // A sandbox nobody waits for any more.
    if (abandoned_creates_.erase(reply.number) && reply.code == 0) {
      if (auto created = protocol::decode<launch::Created>(as_bytes(reply.body))) {
        launch::Target target;
        target.id = created->id;
        launch::Request request;
        request.kind = launch::Kind::destroy;
        request.body = protocol::encode(target);
        os::send_packet(socket_.get(), as_bytes(protocol::encode(request))).ignore("then it is gone with its launcher");
      } else {
        created.error().ignore("nothing to destroy then");
      }
    }
    return;
  }
  Waiter& waiter = *found->second;
  waiter.reply = std::move(reply);
  waiter.fds = std::move(fds);
  waiter.done = true;
  waiter.wake.notify_one();
}

void Launcher::lose(const Error& why) {
  why.ignore("every waiter is told that the launcher is gone");
  closed_.store(true, std::memory_order_release);
  for (auto& [number, waiter] : waiters_) {
    if (waiter->done) continue;
    waiter->reply = launch::failure(number, gone());
    waiter->done = true;
    waiter->wake.notify_one();
  }
}

Result<void> Launcher::try_tell(launch::Kind kind, std::string body) {
  if (!alive()) return gone();
  launch::Request request;
  request.kind = kind;
  request.body = std::move(body);
  return send(protocol::encode(request), {}, core::SteadyClock::now() + std::chrono::seconds(1));
}

Result<void> Launcher::try_note(launch::Kind kind, std::string body) {
  if (!alive()) return gone();
  launch::Request request;
  request.kind = kind;
  request.body = std::move(body);
  const std::string packet = protocol::encode(request);
  auto noted = os::send_packet(notes_.get(), as_bytes(packet));
  if (noted) return noted;
  noted.error().ignore("no room, or nobody there: said aloud it is heard behind the notes before it, or fails for good");
  return send(packet, {}, core::SteadyClock::now() + std::chrono::seconds(1));
}

void Launcher::close(core::TimePoint deadline) {
  SANDBOX_SYNC_POINT("native.before_launcher_close");
  if (persistent) tell(launch::Kind::forget, {});
  std::optional<os::PidfdProcess> process;
  core::UniqueFd taken_over;
  {
    std::lock_guard lock(mutex_);
    closed_.store(true, std::memory_order_release);
    process.swap(process_);
    std::swap(taken_over, taken_over_);
  }
  if (!process && !taken_over) return;
  ::shutdown(socket_.get(), SHUT_RDWR);  // wakes readers; the launcher sees the end of its world
  if (process) {
    if (auto ended = process->wait(deadline); !ended) ended.error().ignore("the destructor kills it, and its sandboxes die with it");
    return;
  }
  // Not our child: whoever is its parent now reaps it, and its end is all there is to see.
  pollfd end{taken_over.get(), POLLIN, 0};
  while (::poll(&end, 1, core::poll_timeout(deadline)) < 0 && errno == EINTR) {
  }
  if (!(end.revents & POLLIN)) os::pidfd_send_signal(taken_over.get(), SIGKILL);
}

void Launcher::leave() {
  std::lock_guard lock(mutex_);
  closed_.store(true, std::memory_order_release);
  if (process_) process_->release();
  process_.reset();
  taken_over_.reset();
  ::shutdown(socket_.get(), SHUT_RDWR);
}

}  // namespace sandbox::native
