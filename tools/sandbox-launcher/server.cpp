#include "server.hpp"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "core/sync_point.hpp"
#include "os/fd_passing.hpp"
#include "os/landlock.hpp"
#include "os/syscalls.hpp"
#include "protocol/build_id.hpp"
#include "server_impl.hpp"

namespace sandbox::launcher {

using core::UniqueFd;

namespace {

/// How long nobody must have asked for anything before something is made ahead: an idle launcher's work must not
/// compete with an agent that is starting.
constexpr std::uint64_t kQuietNs = 3'000'000;
/// How often, and for how long from the start, cgroups of launchers that were killed are looked at: what ran in them may
/// take a while to die.
constexpr int kSweepMs = 10;
constexpr std::uint64_t kSweepNs = 5'000'000'000;

std::byte inbox[launch::kMaxMessage];  ///< of the packet that is being decoded

}  // namespace

/// What may be asked, when, how often, and with how many descriptors. Anything else ends the session.
struct Server::Permitted {
  launch::Kind kind;
  bool before_configure;
  bool once;
  std::size_t fds;
  Handler handler;
};
const Server::Permitted Server::kPermitted[] = {
    {launch::Kind::configure, true, true, 2, &Server::configure},
    {launch::Kind::prepare, false, false, 0, &Server::prepare},
    {launch::Kind::drop, false, false, 0, &Server::drop},
    {launch::Kind::create, false, false, 0, &Server::create},
    {launch::Kind::destroy, false, false, 0, &Server::destroy},
    {launch::Kind::outcome, false, false, 0, &Server::outcome},
    {launch::Kind::stats, false, false, 0, &Server::stats},
    {launch::Kind::freeze, false, false, 0, &Server::freeze},
    {launch::Kind::thaw, false, false, 0, &Server::thaw},
    {launch::Kind::connect, false, false, 0, &Server::connect},
    {launch::Kind::listening, false, false, 0, &Server::listening},
    {launch::Kind::writable, false, false, 0, &Server::writable},
    {launch::Kind::ping, true, false, 0, &Server::ping},
    {launch::Kind::persist, false, false, 1, &Server::persist},
    {launch::Kind::commit, false, false, 0, &Server::commit},
    {launch::Kind::list, false, false, 0, &Server::list},
    {launch::Kind::adopt, false, false, 0, &Server::adopt},
    {launch::Kind::forget, false, false, 0, &Server::forget},
};

bool Server::watch(int fd, std::uint64_t key, std::uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = key;
  return ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0;
}

Result<void> Server::begin() {
  epoll_ = UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_) return Error::from_errno(errno, "native.launcher", "epoll_create1");
  const int self = os::pidfd_open(::getpid());
  if (self < 0) return Error::from_errno(-self, "native.launcher", "pidfd_open");
  self_ = UniqueFd(self);
  if (!watch(control_, kControlKey, EPOLLIN)) return Error::from_errno(errno, "native.launcher", "epoll_ctl");
  return {};
}

int Server::run() {
  bool open = true;
  while (open) {
    epoll_event events[32];
    const int count = ::epoll_wait(epoll_.get(), events, 32, timeout_ms());
    for (int i = 0; i < count && open; ++i) {
      const std::uint64_t key = events[i].data.u64;
      if (key == kControlKey) {
        if (control_ >= 0 && (!handle_packet() || broken_)) open = lose_control();
      } else if (key == kRendezvousKey) {
        on_rendezvous();
        open = control_ >= 0 || orphan_deadline_ns_ != 0;
      } else if (key == kBridgeKey) {
        if (bridge_)
          if (auto checked = bridge_->check(); !checked) checked.error().ignore("the bridge fails closed by itself");
      } else if ((key & 3) == 1) {
        if (const auto found = sandboxes_.find(key >> 2); found != sandboxes_.end()) on_exit(*found->second);
      } else if ((key & 3) == 2) {
        on_connection(key >> 2);
      }
    }
    tidy_slots();
    for (std::size_t i = 0; i < busy_.size();) {
      const auto found = sandboxes_.find(busy_[i]);
      if (found == sandboxes_.end() || clean(*found->second)) {
        const std::uint64_t id = busy_[i];
        busy_.erase(busy_.begin() + static_cast<std::ptrdiff_t>(i));
        finish(id);
      } else {
        ++i;
      }
    }
    if (count == 0) {
      for (auto at = connections_.begin(); at != connections_.end();) {
        const auto current = at++;
        if (current->second.deadline_ms && now_ns() / 1000000 >= current->second.deadline_ms)
          settle_connection(current->first, Error(ErrorCode::deadline_exceeded, "the connection was not answered in time").with_operation("net.connect"));
      }
      if (now_ns() - last_request_ns_ >= kQuietNs) {
        if (greeted_) spares_.make_one();
        if (sweep_until_ns_ != 0 && (cgroups_->sweep_dead() || now_ns() >= sweep_until_ns_)) sweep_until_ns_ = 0;
      }
    }
    if (orphan_deadline_ns_ != 0 && now_ns() >= orphan_deadline_ns_) open = false;
  }
  shut_down();
  return broken_ ? 65 : 0;
}

int Server::timeout_ms() const {
  if (!busy_.empty()) return 1;
  if (!connections_.empty()) return 5;
  if (orphan_deadline_ns_ != 0 && !slots_.in_use()) {
    const std::uint64_t now = now_ns();
    return now >= orphan_deadline_ns_ ? 0 : static_cast<int>(std::min<std::uint64_t>((orphan_deadline_ns_ - now) / 1000000 + 1, 1u << 30));
  }
  if (greeted_ && spares_.wanting()) return now_ns() - last_request_ns_ >= kQuietNs ? 0 : 3;
  if (slots_.in_use()) return 3;
  return sweep_until_ns_ != 0 ? kSweepMs : -1;
}

bool Server::handle_packet() {
  auto packet = os::receive_packet(control_, inbox, MSG_DONTWAIT);
  if (!packet) {
    // A peer that died with unread replies: what it sent before is still there to read.
    if (packet.error().sys_errno() == EAGAIN || packet.error().sys_errno() == ECONNRESET) return true;
    broken_ = packet.error().code() != ErrorCode::unavailable;
    return false;
  }
  last_request_ns_ = now_ns();
  auto request = protocol::decode<launch::Request>(ByteView(inbox, packet->size));
  const Permitted* permitted = nullptr;
  if (request)
    for (const Permitted& entry : kPermitted)
      if (entry.kind == request->kind) permitted = &entry;
  if (!permitted || packet->fds.size() != permitted->fds || permitted->before_configure < !greeted_ ||
      (permitted->once && greeted_)) {
    if (!request) request.error().ignore("the session ends");
    broken_ = true;
    return false;
  }
  read_notes();  // what was written before this was sent
  if (broken_) return false;
  if (auto done = (this->*permitted->handler)(*request, packet->fds); !done) reply_error(request->number, done.error());
  return true;
}

/// Does what the owner left to be done before anything else.
void Server::read_notes() {
  while (notes_ && !broken_) {
    auto packet = os::receive_packet(notes_.get(), inbox, MSG_DONTWAIT);
    if (!packet) {
      if (packet.error().sys_errno() == EAGAIN) return;
      // The end of the owner, which the control socket tells; or one of them is lost, and nobody knows which.
      if (packet.error().code() == ErrorCode::unavailable) notes_.reset();
      else broken_ = true;
      return;
    }
    auto request = protocol::decode<launch::Request>(ByteView(inbox, packet->size));
    if (!request) {
      request.error().ignore("the session ends");
      broken_ = true;
    } else if (request->kind != launch::Kind::commit || request->number != 0 || !packet->fds.empty()) {
      broken_ = true;
    } else if (auto done = commit(*request, packet->fds); !done) {
      done.error().ignore("nobody waits for an answer to a note");
    }
  }
}

bool Server::reply(std::uint64_t number, std::string body, std::span<const int> fds) {
  if (number == 0 || control_ < 0) return true;
  launch::Reply message;
  message.number = number;
  message.body = std::move(body);
  const std::string bytes = protocol::encode(message);
  auto sent = os::send_packet(control_, as_bytes(bytes), fds);
  if (sent) return true;
  // A peer that is gone shows as end of stream. Otherwise it must not wait for what will never come.
  if (sent.error().code() != ErrorCode::unavailable) reply_error(number, sent.error());
  sent.error().ignore("told, or nobody is there");
  return false;
}

void Server::reply_error(std::uint64_t number, const Error& error) {
  error.ignore("it goes to whoever asked");
  if (number == 0 || control_ < 0) return;
  const std::string bytes = protocol::encode(launch::failure(number, error));
  auto sent = os::send_packet(control_, as_bytes(bytes));
  if (sent) return;
  // Whoever waits for a word that cannot be sent is better off with the end of this connection.
  if (sent.error().code() != ErrorCode::unavailable) broken_ = true;
  sent.error().ignore("a peer that is gone shows as end of stream");
}

Result<Server::Sandbox*> Server::find(std::uint64_t id) {
  const auto found = sandboxes_.find(id);
  if (found == sandboxes_.end()) return Error(ErrorCode::not_found, "no such sandbox").with_operation("native.sandbox");
  return found->second.get();
}

Result<void> Server::configure(const launch::Request& request, std::vector<UniqueFd>& fds) {
  SANDBOX_TRY(auto wanted_options, protocol::decode<launch::Configure>(as_bytes(request.body)));
  if (wanted_options.build != protocol::build_id()) return launch::build_mismatch("the library", wanted_options.build);
  agent_ = std::move(fds.front());
  SANDBOX_TRY(notes_, keep(std::move(fds.back())));
  if (configured_) {
    // A new owner of what is there: where ids are locked and how the bridge looks is settled.
    greeted_ = true;
    reply(request.number, protocol::encode(facts_));
    return {};
  }
  options_ = std::move(wanted_options);
  launch::Configured answer;
  answer.build = protocol::build_id();
  answer.pid = static_cast<std::uint32_t>(::getpid());
  answer.rootless = base_.rootless();
  if (options_.lock_directory.empty()) options_.lock_directory = "/run/sandbox";
  {
    Base::HostView view(base_);
    if (!view.entered()) return Error::from_errno(errno, "native.base", "setns");
    if (!base_.rootless()) {
      SANDBOX_TRY(auto ids, IdRanges::open(options_.lock_directory));
      ids_.emplace(std::move(ids));
    }
    char name[64];
    std::snprintf(name, sizeof name, "%d-%llx", ::getpid(), static_cast<unsigned long long>(now_ns()));
    cgroups_ = os::CgroupTree::open(name);
    sweep_until_ns_ = now_ns() + kSweepNs;
  }
  spares_.keep(*cgroups_, options_.cgroup_backlog, options_.benchmark_without_network_namespace ? 0 : options_.namespace_backlog);
  landlock_abi_ = std::min(os::landlock::abi_version(), 6);
  answer.landlock_abi = static_cast<std::uint32_t>(landlock_abi_);
  idmap_ = !base_.rootless();
  answer.idmap = idmap_;
  const std::pair<os::Controller, const char*> wanted[] = {
      {os::Controller::memory, "memory"}, {os::Controller::cpu, "cpus"}, {os::Controller::pids, "pids"}, {os::Controller::freezer, "pause"}};
  for (const auto& [controller, limit] : wanted) {
    if (cgroups_->has(controller)) answer.enforced.emplace_back(limit);
    else if (controller == os::Controller::pids && base_.rootless()) answer.enforced.emplace_back("pids");
    else answer.unenforced.push_back(std::string(limit) + ": " + cgroups_->reason(controller));
  }
  for (const char* always : {"disk", "inodes", "open_files", "seccomp", "namespaces", "capabilities"}) answer.enforced.emplace_back(always);
  if (landlock_abi_ > 0) answer.enforced.emplace_back("landlock");
  SANDBOX_SYNC_POINT("launcher.configured");
  configured_ = greeted_ = true;
  reply(request.number, protocol::encode(answer));
  facts_ = std::move(answer);
  return {};
}

Result<void> Server::prepare(const launch::Request& request, std::vector<UniqueFd>&) {
  SANDBOX_TRY(auto plan, protocol::decode<launch::LaunchPlan>(as_bytes(request.body)));
  SANDBOX_CHECK(launch::validate(plan));
  if (recipes_.size() >= launch::kMaxRecipes || recipes_.count(plan.recipe))
    return Error(ErrorCode::invalid_argument, "the recipe's number is taken, or there are too many").with_operation("native.plan");
  if (plan.network == launch::NetworkMode::bridge && options_.benchmark_without_network_namespace)
    return Error(ErrorCode::invalid_argument, "a bridge needs network namespaces").with_operation("native.network");
  if (plan.network == launch::NetworkMode::bridge && !bridge_) {
    if (base_.rootless())
      return Error(ErrorCode::failed_precondition, "Network::bridge needs root: packet filter and interfaces belong to the host").with_operation("native.network");
    BridgeConfig config;
    config.range = {options_.bridge_address, options_.bridge_prefix};
    config.may_enable_forwarding = options_.bridge_may_forward;
    Base::HostView view(base_);
    SANDBOX_TRY(bridge_, Bridge::setup(config));
    if (bridge_->watch_fd() >= 0) watch(bridge_->watch_fd(), kBridgeKey, EPOLLIN);
  }
  SANDBOX_SYNC_POINT("launcher.before_prepare");
  const std::string key = (plan.writable_root ? "w" : "r") + protocol::encode(plan.tree);
  std::shared_ptr<MountedTree> tree = trees_[key].lock();
  if (!tree) {
    SANDBOX_TRY(auto made, base_.mount_tree(plan.tree, plan.writable_root));
    tree = std::move(made);
    trees_[key] = tree;
  }
  const std::uint32_t number = plan.recipe;
  SANDBOX_TRY(auto recipe, Recipe::make(std::move(plan), base_, *cgroups_, std::move(tree), landlock_abi_, static_cast<bool>(rendezvous_)));
  SANDBOX_SYNC_POINT("launcher.prepared");
  reply(request.number, protocol::encode(recipe->prepared()));
  recipes_.emplace(number, std::move(recipe));
  return {};
}

Result<void> Server::drop(const launch::Request& request, std::vector<UniqueFd>&) {
  SANDBOX_TRY(auto which, protocol::decode<launch::Drop>(as_bytes(request.body)));
  recipes_.erase(which.recipe);
  std::erase_if(trees_, [](const auto& entry) { return entry.second.expired(); });
  reply(request.number, {});
  return {};
}

Result<void> Server::ping(const launch::Request& request, std::vector<UniqueFd>&) {
  reply(request.number, {});
  return {};
}

}  // namespace sandbox::launcher
