// What a launcher does beyond one control connection: sandboxes that were committed live on, and another connection, at
// the rendezvous socket, takes them over.
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "core/sync_point.hpp"
#include "os/fd_passing.hpp"
#include "server.hpp"
#include "server_impl.hpp"

namespace sandbox::launcher {
namespace {

using core::UniqueFd;

/// Encoded sandboxes in one answer to list, so that it stays below launch::kMaxMessage with the largest record added.
constexpr std::size_t kListBytes = 48 << 10;

bool same_user(int socket) {
  ucred peer{};
  socklen_t size = sizeof peer;
  return ::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == ::geteuid();
}

}  // namespace

Result<void> Server::persist(const launch::Request& request, std::vector<UniqueFd>& fds) {
  SANDBOX_TRY(auto wanted, protocol::decode<launch::Persist>(as_bytes(request.body)));
  SANDBOX_CHECK(launch::validate(wanted));
  if (rendezvous_ || !recipes_.empty())
    return Error(ErrorCode::failed_precondition, "to be told once, before the first recipe").with_operation("native.persist");
  int listening = 0;
  socklen_t size = sizeof listening;
  if (::getsockopt(fds.front().get(), SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) != 0 || !listening)
    return Error(ErrorCode::invalid_argument, "not a listening socket").with_operation("native.persist");
  const int high = ::fcntl(fds.front().get(), F_DUPFD_CLOEXEC, kFirstKeptFd);
  if (high < 0 || ::fcntl(high, F_SETFL, O_RDWR | O_NONBLOCK) != 0) return Error::from_errno(errno, "native.persist");
  rendezvous_ = UniqueFd(high);
  if (!watch(rendezvous_.get(), kRendezvousKey, EPOLLIN)) return Error::from_errno(errno, "native.persist");
  SANDBOX_SYNC_POINT("launcher.persisting");
  persist_ = std::move(wanted);
  // Whoever reads our first owner's standard error must not wait for us.
  ::dup3(4, STDERR_FILENO, 0);
  reply(request.number, {});
  return {};
}

Result<void> Server::commit(const launch::Request& request, std::vector<UniqueFd>&) {
  SANDBOX_TRY(auto wanted, protocol::decode<launch::Commit>(as_bytes(request.body)));
  SANDBOX_CHECK(launch::validate(wanted));
  SANDBOX_TRY(Sandbox * sandbox, find(wanted.id));
  if (!rendezvous_) return Error(ErrorCode::failed_precondition, "this launcher does not persist").with_operation("native.persist");
  SANDBOX_SYNC_POINT("launcher.before_commit");
  sandbox->committed = true;
  sandbox->record = std::move(wanted.record);
  SANDBOX_SYNC_POINT("launcher.committed");
  reply(request.number, {});
  return {};
}

/// A sandbox that outlives its owner also outlives the owner's locks on the layers it stands on: it has its own from the
/// start, so that there is no moment between the owner's end and the commit's arrival without any. The owner, who waits for
/// the sandbox, has them too, so this waits for nobody. At descriptors that no child gets a copy of.
Result<void> Server::hold_layers(Sandbox& sandbox, const std::vector<std::string>& paths) {
  for (const std::string& path : paths) {
    const auto known = holds_.find(path);
    std::shared_ptr<UniqueFd> hold = known == holds_.end() ? nullptr : known->second.lock();
    if (!hold) {
      std::erase_if(holds_, [](const auto& entry) { return entry.second.expired(); });
      Base::HostView view(base_);
      if (!view.entered()) return Error::from_errno(errno, "native.image", "setns");
      const UniqueFd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
      if (!directory) return Error::from_errno(errno, "native.image", path);
      hold = std::make_shared<UniqueFd>(::fcntl(directory.get(), F_DUPFD_CLOEXEC, kFirstKeptFd));
      if (!*hold) return Error::from_errno(errno, "native.fds");
      if (::flock(hold->get(), LOCK_SH | LOCK_NB) != 0) return Error::from_errno(errno, "native.image", path);
      holds_[path] = hold;
    }
    sandbox.holds.push_back(std::move(hold));
  }
  return {};
}

Result<void> Server::list(const launch::Request& request, std::vector<UniqueFd>&) {
  SANDBOX_TRY(auto wanted, protocol::decode<launch::List>(as_bytes(request.body)));
  std::vector<const Sandbox*> found;
  for (const auto& [id, sandbox] : sandboxes_)
    if (id > wanted.after && sandbox->committed && !sandbox->doomed) found.push_back(sandbox.get());
  std::sort(found.begin(), found.end(), [](const Sandbox* a, const Sandbox* b) { return a->id < b->id; });
  tidy_slots();
  SANDBOX_SYNC_POINT("launcher.listing");
  launch::Listed answer;
  std::size_t bytes = 0;
  for (const Sandbox* sandbox : found) {
    if (bytes >= kListBytes) {
      answer.more = true;
      break;
    }
    launch::Adoptable entry;
    entry.id = sandbox->id;
    entry.pid = static_cast<std::uint32_t>(sandbox->pid);
    entry.first_id = sandbox->first_id;
    entry.address = sandbox->address;
    entry.gateway = sandbox->gateway;
    entry.record = sandbox->record;
    entry.frozen = sandbox->frozen;
    entry.ended = sandbox->ended;
    if (sandbox->ended) entry.outcome = sandbox->outcome;
    entry.age_ms = (now_ns() - sandbox->made_ns) / 1000000;
    bytes += entry.record.size() + entry.outcome.message.size() + 256;
    answer.sandboxes.push_back(std::move(entry));
  }
  reply(request.number, protocol::encode(answer));
  return {};
}

Result<void> Server::adopt(const launch::Request& request, std::vector<UniqueFd>&) {
  SANDBOX_TRY(auto target, protocol::decode<launch::Target>(as_bytes(request.body)));
  SANDBOX_TRY(Sandbox * sandbox, find(target.id));
  if (sandbox->ended) return Error(ErrorCode::unavailable, "the sandbox has ended").with_operation("native.sandbox");
  if (!sandbox->door) return Error(ErrorCode::failed_precondition, "the sandbox was not made to be adopted").with_operation("native.adopt");
  SANDBOX_TRY(auto ends, os::socket_pair(SOCK_STREAM | SOCK_NONBLOCK));
  SANDBOX_SYNC_POINT("launcher.before_adopt");
  const std::byte mark{1};
  const int passed[] = {ends.second.get()};
  SANDBOX_CHECK(os::send_packet(sandbox->door.get(), ByteView(&mark, 1), passed));
  SANDBOX_SYNC_POINT("launcher.adopted");
  const int fds[] = {ends.first.get(), sandbox->pidfd.get()};
  reply(request.number, {}, fds);
  return {};
}

Result<void> Server::forget(const launch::Request& request, std::vector<UniqueFd>&) {
  for (auto& [id, sandbox] : sandboxes_) sandbox->committed = false;
  reply(request.number, {});
  return {};
}

/// The control connection has ended. Returns whether there is a reason to go on without one.
bool Server::lose_control() {
  if (!rendezvous_) return false;
  SANDBOX_SYNC_POINT("launcher.control_lost");
  read_notes();
  notes_.reset();
  broken_ = false;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, control_, nullptr);
  if (later_control_) later_control_.reset();
  else ::dup3(4, control_, O_CLOEXEC);  // the number stays taken, see main.cpp
  control_ = -1;
  greeted_ = false;
  // Nothing is owed to the next one: its request numbers are its own.
  connections_.clear();
  std::vector<Sandbox*> uncommitted;
  for (auto& [id, sandbox] : sandboxes_) {
    sandbox->waiting_outcome.clear();
    sandbox->waiting_destroy.clear();
    if (!sandbox->committed) uncommitted.push_back(sandbox.get());
    // What its owner did not ask to stand still goes on.
    if (sandbox->committed && sandbox->frozen_briefly && !sandbox->ended) {
      sandbox->frozen = sandbox->frozen_briefly = false;
      if (auto thawed = sandbox->cgroups.set_frozen(false); !thawed) thawed.error().ignore("the next owner sees it frozen");
    }
  }
  for (Sandbox* sandbox : uncommitted) doom(*sandbox);
  recipes_.clear();
  std::erase_if(trees_, [](const auto& entry) { return entry.second.expired(); });
  spares_.clear();
  SANDBOX_SYNC_POINT("launcher.uncommitted_doomed");
  orphan_deadline_ns_ = now_ns() + std::uint64_t{persist_.orphan_ms} * 1000000;
  return std::any_of(sandboxes_.begin(), sandboxes_.end(), [](const auto& entry) { return entry.second->committed && !entry.second->doomed; });
}

void Server::refuse_caller(int caller, const Error& why) {
  why.ignore("told to the caller");
  const std::string bytes = protocol::encode(launch::failure(1, why));
  // Nobody waits for a stranger that does not read: there is room for one packet in a new socket.
  os::send_packet(caller, as_bytes(bytes)).ignore("it will see the end of the connection");
}

/// Somebody wants to control this launcher.
void Server::on_rendezvous() {
  UniqueFd caller(::accept4(rendezvous_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!caller) return;
  if (!same_user(caller.get())) return;
  if (control_ >= 0) {
    // Its predecessor may have died a moment ago: what it said before counts.
    pollfd predecessor{control_, POLLIN, 0};
    if (::poll(&predecessor, 1, 0) > 0 && (predecessor.revents & POLLHUP)) {
      while (handle_packet()) {
      }
      if (!lose_control()) {
        orphan_deadline_ns_ = 0;  // nothing is left to take over
        return;
      }
    }
  }
  if (control_ >= 0)
    return refuse_caller(caller.get(), Error(ErrorCode::already_exists, "this launcher is controlled by another process").with_operation("native.persist"));
  const int high = ::fcntl(caller.get(), F_DUPFD_CLOEXEC, kFirstKeptFd);
  if (high < 0 || !watch(high, kControlKey, EPOLLIN)) {
    if (high >= 0) ::close(high);
    return;
  }
  SANDBOX_SYNC_POINT("launcher.taken_over");
  later_control_ = UniqueFd(high);
  control_ = high;
  orphan_deadline_ns_ = 0;
}

}  // namespace sandbox::launcher
