// What may be asked of a sandbox while it lives.
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <cerrno>

#include "core/sync_point.hpp"
#include "server.hpp"
#include "server_impl.hpp"

namespace sandbox::launcher {

using core::UniqueFd;

namespace {
Error ended() { return Error(ErrorCode::unavailable, "the sandbox has ended").with_operation("native.sandbox"); }
}  // namespace

Result<void> Server::stats(const launch::Request& request, std::vector<UniqueFd>&) {
  SANDBOX_TRY(auto target, protocol::decode<launch::Target>(as_bytes(request.body)));
  SANDBOX_TRY(Sandbox * sandbox, find(target.id));
  if (sandbox->ended) return ended();
  launch::Stats answer;
  if (sandbox->cgroups) {
    const os::CgroupStats group = sandbox->cgroups.stats();
    answer.memory_current = group.memory_current;
    answer.memory_peak = group.memory_peak;
    answer.cpu_ns = group.cpu_ns;
    answer.oom_kills = group.oom_kills;
    answer.pids_current = group.pids_current;
  }
  struct statfs disk {};
  if (::fstatfs(sandbox->writable.get(), &disk) == 0) {
    answer.disk_used = static_cast<std::uint64_t>(disk.f_blocks - disk.f_bfree) * static_cast<std::uint64_t>(disk.f_bsize);
    answer.inodes_used = static_cast<std::uint64_t>(disk.f_files - disk.f_ffree);
  }
  if (sandbox->network) {
    SANDBOX_TRY(auto network, interface_stats(sandbox->network.get()));
    answer.rx_bytes = network.rx_bytes;
    answer.tx_bytes = network.tx_bytes;
  }
  tidy_slots();
  answer.timings = sandbox->outcome.timings;
  reply(request.number, protocol::encode(answer));
  return {};
}

Result<void> Server::freeze(const launch::Request& request, std::vector<UniqueFd>&) {
  SANDBOX_TRY(auto target, protocol::decode<launch::Freeze>(as_bytes(request.body)));
  SANDBOX_TRY(Sandbox * sandbox, find(target.id));
  if (sandbox->ended) return ended();
  if (!sandbox->cgroups) return Error(ErrorCode::failed_precondition, "pausing needs cgroups, and this host gives us none").with_operation("native.cgroup");
  sandbox->frozen = true;
  sandbox->frozen_briefly = target.briefly;
  SANDBOX_CHECK(sandbox->cgroups.set_frozen(true));
  SANDBOX_SYNC_POINT("launcher.frozen");
  reply(request.number, {});
  return {};
}

Result<void> Server::thaw(const launch::Request& request, std::vector<UniqueFd>&) {
  SANDBOX_TRY(auto target, protocol::decode<launch::Target>(as_bytes(request.body)));
  SANDBOX_TRY(Sandbox * sandbox, find(target.id));
  if (sandbox->ended) return ended();
  if (!sandbox->cgroups) return Error(ErrorCode::failed_precondition, "pausing needs cgroups, and this host gives us none").with_operation("native.cgroup");
  SANDBOX_SYNC_POINT("launcher.before_thaw");
  SANDBOX_CHECK(sandbox->cgroups.set_frozen(false));
  sandbox->frozen = sandbox->frozen_briefly = false;
  reply(request.number, {});
  return {};
}

Result<void> Server::writable(const launch::Request& request, std::vector<UniqueFd>&) {
  SANDBOX_TRY(auto target, protocol::decode<launch::Target>(as_bytes(request.body)));
  SANDBOX_TRY(Sandbox * sandbox, find(target.id));
  if (sandbox->ended) return ended();
  SANDBOX_SYNC_POINT("launcher.before_writable");
  UniqueFd directory(::openat(sandbox->writable.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return Error::from_errno(errno, "native.writable");
  launch::Writable answer;
  answer.first_id = base_.rootless() ? ::getuid() : sandbox->first_id;
  const int fds[] = {directory.get()};
  reply(request.number, protocol::encode(answer), fds);
  return {};
}

Result<void> Server::listening(const launch::Request& request, std::vector<UniqueFd>&) {
  SANDBOX_TRY(auto port, protocol::decode<launch::Port>(as_bytes(request.body)));
  SANDBOX_TRY(Sandbox * sandbox, find(port.id));
  if (sandbox->ended) return ended();
  SANDBOX_TRY(const bool found, listening_inside(sandbox->network.get(), port.port));
  launch::Listening answer;
  answer.listening = found;
  reply(request.number, protocol::encode(answer));
  return {};
}

Result<void> Server::connect(const launch::Request& request, std::vector<UniqueFd>&) {
  SANDBOX_TRY(auto port, protocol::decode<launch::Port>(as_bytes(request.body)));
  SANDBOX_TRY(Sandbox * sandbox, find(port.id));
  if (sandbox->ended) return ended();
  if (port.port == 0) return Error(ErrorCode::invalid_argument, "port 0").with_operation("net.connect");
  SANDBOX_TRY(auto connection, InsideConnection::start(sandbox->network.get(), port.port));
  const std::uint64_t key = ++next_connection_;
  const auto state = connection.state();
  const std::uint64_t deadline = port.timeout_ms ? now_ns() / 1000000 + port.timeout_ms : 0;
  connections_.emplace(key, Connection{request.number, port.id, std::move(connection), deadline});
  settle_connection(key, state);
  return {};
}

void Server::on_connection(std::uint64_t key) {
  const auto found = connections_.find(key);
  if (found == connections_.end()) return;
  auto sandbox = find(found->second.sandbox);
  if (!sandbox || (*sandbox)->ended) {
    if (!sandbox) sandbox.error().ignore("answered below");
    settle_connection(key, ended());
    return;
  }
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, found->second.connection.fd(), nullptr);
  settle_connection(key, found->second.connection.advance((*sandbox)->network.get()));
}

void Server::settle_connection(std::uint64_t key, Result<InsideConnection::State> state) {
  const auto found = connections_.find(key);
  Connection& connection = found->second;
  if (!state) {
    reply_error(connection.request, state.error());
  } else if (*state == InsideConnection::State::pending) {
    if (watch(connection.connection.fd(), connection_key(key), EPOLLOUT | EPOLLERR | EPOLLHUP)) return;
    reply_error(connection.request, Error::from_errno(errno, "net.connect", "epoll"));
  } else if (*state == InsideConnection::State::refused) {
    reply_error(connection.request, Error(ErrorCode::unavailable, "nobody listens on that port").with_operation("net.connect").with_errno(ECONNREFUSED).with_retry(Retry::after_backoff));
  } else {
    const UniqueFd socket = connection.connection.take();
    const int fds[] = {socket.get()};
    reply(connection.request, {}, fds);
  }
  connections_.erase(found);
}

}  // namespace sandbox::launcher
