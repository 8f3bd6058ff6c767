#include "server.hpp"

#include <fcntl.h>
#include <linux/sched.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/sync_point.hpp"
#include "os/fd_passing.hpp"
#include "os/landlock.hpp"
#include "os/syscalls.hpp"
#include "protocol/build_id.hpp"

namespace sandbox::launcher {
namespace {

using core::UniqueFd;

constexpr std::uint64_t kControlKey = 0, kBridgeKey = 3, kRendezvousKey = 7;
constexpr std::uint64_t exit_key(std::uint64_t id) { return id << 2 | 1; }
constexpr std::uint64_t connection_key(std::uint64_t id) { return id << 2 | 2; }
/// How long nobody must have asked for anything before the backlogs are filled up: an idle launcher's work must not
/// compete with an agent that is starting.
constexpr std::uint64_t kQuietNs = 3'000'000;
/// How often, and for how long from the start, cgroups of launchers that were killed are looked at: what ran in them may
/// take a while to die.
constexpr int kSweepMs = 10;
constexpr std::uint64_t kSweepNs = 5'000'000'000;

std::uint64_t now_ns() {
  timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1000000000u + static_cast<std::uint64_t>(now.tv_nsec);
}

/// Long-lived descriptors live high, so that a child's copy of the table (below kFirstKeptFd) stays small.
Result<UniqueFd> keep(UniqueFd fd) {
  const int high = ::fcntl(fd.get(), F_DUPFD_CLOEXEC, kFirstKeptFd);
  if (high < 0) return Error::from_errno(errno, "native.fds");
  return UniqueFd(high);
}

/// write(2) of a whole small text to /proc/<pid>/<name>.
Result<void> write_proc(int proc, int pid, const char* name, std::string_view text) {
  char path[64];
  std::snprintf(path, sizeof path, "%d/%s", pid, name);
  UniqueFd file(::openat(proc, path, O_WRONLY | O_CLOEXEC));
  if (!file || ::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    return Error::from_errno(errno, "native.identity", name);
  return {};
}

Result<UniqueFd> make_writable(const launch::LaunchPlan& plan, std::uint32_t first_id) {
  constexpr const char* kOperation = "native.writable";
  UniqueFd fs(os::fsopen("tmpfs", FSOPEN_CLOEXEC));
  if (fs.get() < 0) return Error::from_errno(-fs.release(), kOperation, "tmpfs");
  const std::string disk = std::to_string(plan.disk), inodes = std::to_string(plan.inodes), id = std::to_string(first_id);
  const std::pair<const char*, const char*> settings[] = {
      {"size", disk.c_str()}, {"nr_inodes", inodes.c_str()}, {"mode", "0755"}, {"uid", id.c_str()}, {"gid", id.c_str()}};
  for (const auto& [key, value] : settings)
    if (int r = os::fsconfig(fs.get(), FSCONFIG_SET_STRING, key, value, 0); r < 0) return Error::from_errno(-r, kOperation, key);
  // Whole huge pages where a file is large enough for them; a kernel without support says no, and that is fine.
  (void)os::fsconfig(fs.get(), FSCONFIG_SET_STRING, "huge", "within_size", 0);
  if (int r = os::fsconfig(fs.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0); r < 0) return Error::from_errno(-r, kOperation, "tmpfs");
  const int mount = os::fsmount(fs.get(), FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
  if (mount < 0) return Error::from_errno(-mount, kOperation, "tmpfs");
  return UniqueFd(mount);
}

}  // namespace

// ---- requests -----------------------------------------------------------------------------------------------------------

/// What may be asked, when, how often, and with how many descriptors. Anything else ends the session.
struct Server::Permitted {
  launch::Kind kind;
  bool before_configure;
  bool once;
  std::size_t fds;
  Handler handler;
};
const Server::Permitted Server::kPermitted[] = {
    {launch::Kind::configure, true, true, 1, &Server::configure},
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
        refill();
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
  if (orphan_deadline_ns_ != 0 && used_slots_.empty()) {
    const std::uint64_t now = now_ns();
    return now >= orphan_deadline_ns_ ? 0 : static_cast<int>(std::min<std::uint64_t>((orphan_deadline_ns_ - now) / 1000000 + 1, 1u << 30));
  }
  const bool wants = greeted_ && (spare_networks_.size() < options_.namespace_backlog ||
                                     (cgroups_->usable() && spare_cgroups_.size() < options_.cgroup_backlog));
  if (wants) return now_ns() - last_request_ns_ >= kQuietNs ? 0 : 3;
  if (!used_slots_.empty()) return 3;
  return sweep_until_ns_ != 0 ? kSweepMs : -1;
}

/// One more spare at a time, so that a request never waits for more than one.
bool Server::refill() {
  if (!greeted_) return false;
  if (cgroups_->usable() && spare_cgroups_.size() < options_.cgroup_backlog) {
    if (auto set = cgroups_->make()) {
      spare_cgroups_.push_back(std::move(*set));
      return true;
    } else {
      set.error().ignore("a create will meet it again and report it");
      options_.cgroup_backlog = 0;
    }
  }
  if (spare_networks_.size() < options_.namespace_backlog) {
    if (auto network = make_network_namespace()) {
      if (auto kept = keep(std::move(*network))) {
        spare_networks_.push_back(std::move(*kept));
        return true;
      } else {
        kept.error().ignore("a create will meet it again and report it");
      }
    } else {
      network.error().ignore("a create will meet it again and report it");
    }
    options_.namespace_backlog = 0;
  }
  return false;
}

bool Server::handle_packet() {
  static std::byte buffer[launch::kMaxMessage];
  auto packet = os::receive_packet(control_, buffer, MSG_DONTWAIT);
  if (!packet) {
    // A peer that died with unread replies: what it sent before is still there to read.
    if (packet.error().sys_errno() == EAGAIN || packet.error().sys_errno() == ECONNRESET) return true;
    broken_ = packet.error().code() != ErrorCode::unavailable;
    return false;
  }
  last_request_ns_ = now_ns();
  auto request = protocol::decode<launch::Request>(ByteView(buffer, packet->size));
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
  if (auto done = (this->*permitted->handler)(*request, packet->fds); !done) reply_error(request->number, done.error());
  return true;
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
  if (options_.benchmark_without_network_namespace) options_.namespace_backlog = 0;
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

// ---- creation -----------------------------------------------------------------------------------------------------------

Server::Slot* Server::acquire_slot() {
  tidy_slots();
  if (free_slots_.empty()) {
    auto slot = std::make_unique<Slot>();
    // A page without access below the stack turns an overflow into a crash.
    char* memory = static_cast<char*>(::mmap(nullptr, kChildStack + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0));
    if (memory == MAP_FAILED) return nullptr;
    ::mprotect(memory, 4096, PROT_NONE);
    slot->stack = memory + 4096 + kChildStack;
    free_slots_.push_back(slot.get());
    slots_.push_back(std::move(slot));
  }
  Slot* slot = free_slots_.back();
  free_slots_.pop_back();
  used_slots_.push_back(slot);
  ChildState& state = slot->state;
  state.go.store(0);
  state.own_files.store(0);
  state.failed.store(0);
  state.operation = state.detail = nullptr;
  std::fill(std::begin(state.timings), std::end(state.timings), 0u);
  return slot;
}

/// Takes back what children no longer use.
void Server::tidy_slots() {
  for (std::size_t i = 0; i < used_slots_.size();) {
    Slot* slot = used_slots_[i];
    const bool gone = slot->state.tid.load(std::memory_order_acquire) == 0;
    if (gone || slot->state.own_files.load(std::memory_order_acquire)) slot->fds.clear();
    if (!gone) {
      ++i;
      continue;
    }
    for (auto& [id, sandbox] : sandboxes_) {
      if (sandbox->slot != slot) continue;
      sandbox->outcome.timings.assign(std::begin(slot->state.timings), std::end(slot->state.timings));
      if (slot->state.failed.load(std::memory_order_acquire)) {
        sandbox->outcome.operation = slot->state.operation;
        sandbox->outcome.sys_errno = slot->state.sys_errno;
        sandbox->outcome.message = Error::from_errno(slot->state.sys_errno, {}, slot->state.detail).message();
      }
      sandbox->slot = nullptr;
    }
    slot->recipe.reset();
    used_slots_.erase(used_slots_.begin() + static_cast<std::ptrdiff_t>(i));
    free_slots_.push_back(slot);
  }
}

Result<UniqueFd> Server::clone_tree(const std::string& path, int user_namespace) {
  UniqueFd tree(os::open_tree(AT_FDCWD, path.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE));
  if (tree.get() < 0) return Error::from_errno(-tree.release(), "native.image", path);
  if (user_namespace >= 0) {
    mount_attr attributes{};
    attributes.attr_set = MOUNT_ATTR_IDMAP;
    attributes.userns_fd = static_cast<std::uint64_t>(user_namespace);
    if (int r = os::mount_setattr(tree.get(), "", AT_EMPTY_PATH | AT_RECURSIVE, attributes); r < 0)
      return Error::from_errno(-r, "native.idmap", path);
  }
  return tree;
}

Result<void> Server::create(const launch::Request& request, std::vector<UniqueFd>&) {
  SANDBOX_TRY(auto which, protocol::decode<launch::Create>(as_bytes(request.body)));
  const auto recipe = recipes_.find(which.recipe);
  if (recipe == recipes_.end()) return Error(ErrorCode::not_found, "no such recipe").with_operation("native.plan");
  SANDBOX_SYNC_POINT("launcher.before_create");
  auto sandbox = std::make_unique<Sandbox>();
  sandbox->id = ++next_id_;
  launch::Created created;
  UniqueFd stream;
  if (auto started = start(*sandbox, recipe->second, created, stream); !started) {
    // Whatever there is of it goes away now.
    if (sandbox->pidfd) {
      if (sandbox->slot) {
        sandbox->slot->state.go.store(2, std::memory_order_release);
        os::raw::call(SYS_futex, &sandbox->slot->state.go, FUTEX_WAKE_PRIVATE, 1);
      }
      os::pidfd_send_signal(sandbox->pidfd.get(), SIGKILL);
      siginfo_t info;
      while (::waitid(static_cast<idtype_t>(3 /* P_PIDFD */), static_cast<id_t>(sandbox->pidfd.get()), &info, WEXITED) != 0 && errno == EINTR) {
      }
    }
    tidy_slots();
    if (sandbox->has_ids) ids_->release(sandbox->first_id);
    return started;
  }
  SANDBOX_SYNC_POINT("launcher.before_reply");
  const int fds[] = {stream.get(), sandbox->pidfd.get()};
  const bool told = reply(request.number, protocol::encode(created), fds);
  sandboxes_.emplace(sandbox->id, std::move(sandbox));
  if (!told) doom(*sandboxes_.at(created.id));  // nobody knows of it
  SANDBOX_SYNC_POINT("launcher.created");
  return {};
}

Result<void> Server::start(Sandbox& sandbox, const std::shared_ptr<Recipe>& recipe, launch::Created& created, UniqueFd& stream) {
  const std::uint64_t begin = sandbox.made_ns = last_request_ns_;
  auto mark = [&] { created.timings.push_back(static_cast<std::uint32_t>((now_ns() - begin) / 1000)); };
  Slot* slot = acquire_slot();
  if (!slot) return Error::from_errno(ENOMEM, "native.launch", "stack");
  sandbox.slot = slot;
  slot->recipe = recipe;
  ChildPlan& plan = slot->state.plan;
  plan = recipe->child();

  // What was made ahead, or is made now.
  if (cgroups_->usable()) {
    if (spare_cgroups_.empty()) {
      SANDBOX_TRY(sandbox.cgroups, cgroups_->make());
    } else {
      sandbox.cgroups = std::move(spare_cgroups_.front());
      spare_cgroups_.pop_front();
    }
    SANDBOX_CHECK(sandbox.cgroups.limit(recipe->cgroup_limits()));
  }
  const bool has_network = !options_.benchmark_without_network_namespace;
  if (has_network && spare_networks_.empty()) {
    SANDBOX_TRY(auto network, make_network_namespace());
    SANDBOX_TRY(sandbox.network, keep(std::move(network)));
  } else if (has_network) {
    sandbox.network = std::move(spare_networks_.front());
    spare_networks_.pop_front();
  }
  if (recipe->plan().network == launch::NetworkMode::bridge) {
    SANDBOX_TRY(auto place, bridge_->attach(sandbox.network.get()));
    sandbox.address = created.address = place.address;
    sandbox.gateway = created.gateway = place.gateway;
  }
  if (ids_) {
    SANDBOX_TRY(sandbox.first_id, ids_->acquire());
    sandbox.has_ids = true;
  }
  SANDBOX_TRY(auto streams, os::socket_pair(SOCK_STREAM | SOCK_NONBLOCK));
  stream = std::move(streams.first);
  slot->fds.push_back(std::move(streams.second));
  plan.stream = slot->fds.back().get();
  plan.door = -1;
  if (rendezvous_) {
    SANDBOX_TRY(auto door, os::socket_pair(SOCK_SEQPACKET | SOCK_NONBLOCK));
    SANDBOX_TRY(sandbox.door, keep(std::move(door.first)));
    SANDBOX_CHECK(hold_layers(sandbox, recipe->plan().pinned));
    slot->fds.push_back(std::move(door.second));
    plan.door = slot->fds.back().get();
  }
  plan.oom_counter = -1;
  if (sandbox.cgroups) {
    if (UniqueFd counter = sandbox.cgroups.open_oom_counter()) {
      plan.oom_counter = counter.get();
      slot->fds.push_back(std::move(counter));
    }
    for (const UniqueFd& join : sandbox.cgroups.joins())
      if (plan.join_count < kMaxJoins) plan.joins[plan.join_count++] = join.get();
  }
  plan.launcher_pidfd = self_.get();
  plan.agent = agent_.get();
  plan.scratch = -1;
  plan.root_tree = -1;
  mark();

  SANDBOX_SYNC_POINT("launcher.resources_taken");
  constexpr std::uint64_t kNamespaces = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS;
  int pidfd = -1;
  long pid;
  {
    std::optional<InsideNamespace> inside;
    if (sandbox.network) {
      SANDBOX_TRY(auto entered, InsideNamespace::enter(sandbox.network.get()));
      inside.emplace(std::move(entered));
    }
    Base::LeanView lean(base_);
    if (!lean.entered()) return Error::from_errno(errno, "native.base", "setns");
    pid = start_child(slot->state, slot->stack, kNamespaces, sandbox.cgroups ? sandbox.cgroups.v2_directory() : -1, pidfd);
  }
  if (pid < 0) return Error::from_errno(static_cast<int>(-pid), "native.clone");
  sandbox.pid = static_cast<int>(pid);
  sandbox.pidfd = UniqueFd(pidfd);  // whatever fails from here on, create() can end it
  const int high = ::fcntl(pidfd, F_DUPFD_CLOEXEC, kFirstKeptFd);
  if (high < 0) return Error::from_errno(errno, "native.fds", "pidfd");
  sandbox.pidfd = UniqueFd(high);
  // With the child's others: kept for the sandbox's life, a hundred of them would fill the numbers a child may copy.
  for (UniqueFd& join : sandbox.cgroups.take_joins()) slot->fds.push_back(std::move(join));
  mark();

  SANDBOX_SYNC_POINT("launcher.cloned");
  SANDBOX_CHECK(hand_over(sandbox, *slot, *recipe));
  SANDBOX_SYNC_POINT("launcher.before_go");
  slot->state.go.store(1, std::memory_order_release);
  if (const long r = os::raw::call(SYS_futex, &slot->state.go, FUTEX_WAKE_PRIVATE, 1); r < 0)
    return Error::from_errno(static_cast<int>(-r), "native.launch", "futex");
  mark();
  SANDBOX_SYNC_POINT("launcher.went");
  if (!watch(sandbox.pidfd.get(), exit_key(sandbox.id), EPOLLIN)) return Error::from_errno(errno, "native.launch", "epoll");
  created.id = sandbox.id;
  created.pid = static_cast<std::uint32_t>(pid);
  created.first_id = sandbox.first_id;
  return {};
}

/// What the child waits for: its ids, the trees that show them, its writable file system.
Result<void> Server::hand_over(Sandbox& sandbox, Slot& slot, const Recipe& recipe) {
  ChildPlan& plan = slot.state.plan;
  auto lend = [&](UniqueFd fd) {
    slot.fds.push_back(std::move(fd));
    return slot.fds.back().get();
  };
  char map[64];
  std::snprintf(map, sizeof map, "0 %u %u", sandbox.first_id, base_.rootless() ? 1 : launch::kIdsPerSandbox);
  if (base_.rootless()) SANDBOX_CHECK(write_proc(base_.proc(), sandbox.pid, "setgroups", "deny"));
  SANDBOX_CHECK(write_proc(base_.proc(), sandbox.pid, "uid_map", map));
  SANDBOX_CHECK(write_proc(base_.proc(), sandbox.pid, "gid_map", map));
  UniqueFd ids;
  if (idmap_) {
    char path[64];
    std::snprintf(path, sizeof path, "%d/ns/user", sandbox.pid);
    ids = UniqueFd(::openat(base_.proc(), path, O_RDONLY | O_CLOEXEC));
    if (!ids) return Error::from_errno(errno, "native.idmap", "ns/user");
  }
  const MountedTree& tree = recipe.tree();
  auto clone = [&](const std::string& path) -> Result<int> {
    SANDBOX_TRY(auto fd, clone_tree(path, ids.get()));
    return lend(std::move(fd));
  };
  if (!tree.overlay) {
    SANDBOX_TRY(plan.root_tree, clone(tree.lowers.front()));
  } else {
    for (std::size_t i = 0; i < tree.lowers.size(); ++i) {
      SANDBOX_TRY(plan.lowers[i], clone(tree.lowers[i]));
    }
    for (std::size_t i = 0; i < tree.attached.size(); ++i) {
      SANDBOX_TRY(plan.attached[i], clone(tree.attached[i].second));
    }
  }
  if (recipe.scratch()) {
    SANDBOX_TRY(plan.scratch, clone(recipe.scratch()->lowers.front()));
  }
  SANDBOX_TRY(auto writable, make_writable(recipe.plan(), sandbox.first_id));
  const int high = ::fcntl(writable.get(), F_DUPFD_CLOEXEC, kFirstKeptFd);
  if (high < 0) return Error::from_errno(errno, "native.writable", "dup");
  sandbox.writable = UniqueFd(high);
  plan.writable = lend(std::move(writable));
  for (const UniqueFd& fd : slot.fds)
    if (fd.get() >= kFirstKeptFd) return Error(ErrorCode::resource_exhausted, "too many creations at once").with_operation("native.fds").with_retry(Retry::after_backoff);
  return {};
}

// ---- end ----------------------------------------------------------------------------------------------------------------

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
  spare_cgroups_.clear();
  spare_networks_.clear();
  recipes_.clear();
  bridge_.reset();
  cgroups_.reset();
}

// ---- the living ---------------------------------------------------------------------------------------------------------

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
