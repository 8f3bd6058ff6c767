// How a sandbox ends, by itself or because that was asked for, and how all of them do with the launcher.
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "core/sync_point.hpp"
#include "os/syscalls.hpp"
#include "server.hpp"
#include "server_impl.hpp"

namespace sandbox::launcher {

using core::UniqueFd;

void Server::on_exit(Sandbox& sandbox) {
  if (sandbox.ended) return;
  siginfo_t info{};
  if (::waitid(static_cast<idtype_t>(3 /* P_PIDFD */), static_cast<id_t>(sandbox.pidfd.get()), &info, WEXITED | WNOHANG) != 0 || info.si_pid == 0) {
    if (errno == EINTR || info.si_pid == 0) return;
  }
  SANDBOX_SYNC_POINT("launcher.exit_seen");
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, sandbox.pidfd.get(), nullptr);
  tidy_slots();
  sandbox.ended = true;
  if (info.si_code == CLD_EXITED) sandbox.outcome.exit_code = static_cast<std::uint32_t>(info.si_status);
  else sandbox.outcome.signal = static_cast<std::uint32_t>(info.si_status);
  if (sandbox.cgroups && !sandbox.doomed) sandbox.outcome.oom_kills = sandbox.cgroups.stats().oom_kills;
  const std::uint64_t id = sandbox.id;
  if (clean(sandbox)) finish(id);
  else busy_.push_back(id);
}

/// Gives back everything but the record. False when the kernel still holds something; to be tried again.
bool Server::clean(Sandbox& sandbox) {
  SANDBOX_SYNC_POINT("launcher.before_clean");
  sandbox.network.reset();
  sandbox.writable.reset();
  sandbox.door.reset();
  sandbox.holds.clear();
  if (sandbox.cgroups) {
    if (auto removed = sandbox.cgroups.remove(); !removed) {
      removed.error().ignore("tried again in a millisecond");
      return false;
    }
  }
  if (sandbox.has_ids) ids_->release(sandbox.first_id);
  sandbox.has_ids = false;
  return true;
}

/// Answers who waited for the end. The record goes when its destruction was asked for.
void Server::finish(std::uint64_t id) {
  const auto found = sandboxes_.find(id);
  if (found == sandboxes_.end()) return;
  Sandbox& sandbox = *found->second;
  for (const std::uint64_t number : sandbox.waiting_outcome) reply(number, protocol::encode(sandbox.outcome));
  sandbox.waiting_outcome.clear();
  SANDBOX_SYNC_POINT("launcher.cleaned");
  if (!sandbox.doomed) return;
  for (const std::uint64_t number : sandbox.waiting_destroy) reply(number, {});
  sandboxes_.erase(found);
}

Result<void> Server::destroy(const launch::Request& request, std::vector<UniqueFd>&) {
  SANDBOX_TRY(auto target, protocol::decode<launch::Target>(as_bytes(request.body)));
  SANDBOX_TRY(Sandbox * sandbox, find(target.id));
  if (request.number) sandbox->waiting_destroy.push_back(request.number);
  doom(*sandbox);
  return {};
}

void Server::doom(Sandbox& sandbox) {
  SANDBOX_SYNC_POINT("launcher.before_kill");
  sandbox.doomed = true;
  if (!sandbox.ended) {
    if (sandbox.frozen) sandbox.cgroups.kill();
    os::pidfd_send_signal(sandbox.pidfd.get(), SIGKILL);
    return;  // on_exit goes on
  }
  if (std::find(busy_.begin(), busy_.end(), sandbox.id) == busy_.end()) finish(sandbox.id);
}

Result<void> Server::outcome(const launch::Request& request, std::vector<UniqueFd>&) {
  SANDBOX_TRY(auto target, protocol::decode<launch::Target>(as_bytes(request.body)));
  SANDBOX_TRY(Sandbox * sandbox, find(target.id));
  if (sandbox->ended) reply(request.number, protocol::encode(sandbox->outcome));
  else sandbox->waiting_outcome.push_back(request.number);
  return {};
}

void Server::shut_down() {
  SANDBOX_SYNC_POINT("launcher.before_shutdown");
  if (rendezvous_) {
    // First of all: nobody shall find a launcher that is ending.
    rendezvous_.reset();
    Base::HostView view(base_);
    if (view.entered()) ::unlink(persist_.path.c_str());
  }
  for (auto& [id, sandbox] : sandboxes_) {
    if (sandbox->ended) continue;
    if (sandbox->frozen) sandbox->cgroups.kill();
    os::pidfd_send_signal(sandbox->pidfd.get(), SIGKILL);
  }
  for (auto& [id, sandbox] : sandboxes_) {
    sandbox->doomed = true;
    siginfo_t info{};
    if (!sandbox->ended)
      while (::waitid(static_cast<idtype_t>(3 /* P_PIDFD */), static_cast<id_t>(sandbox->pidfd.get()), &info, WEXITED) != 0 && errno == EINTR) {
      }
    sandbox->ended = true;
    for (int attempt = 0; attempt < 200 && !clean(*sandbox); ++attempt) ::poll(nullptr, 0, 1);
  }
  SANDBOX_SYNC_POINT("launcher.swept");
  connections_.clear();
  sandboxes_.clear();
  spares_.clear();
  recipes_.clear();
  bridge_.reset();
  cgroups_.reset();
}

}  // namespace sandbox::launcher
