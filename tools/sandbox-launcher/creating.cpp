// How a sandbox is made: what it needs is taken, a child cloned, its ids and trees handed over, and told to go. What the child
// does by itself is child.cpp.
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstdio>
#include <iterator>

#include "core/sync_point.hpp"
#include "os/fd_passing.hpp"
#include "os/syscalls.hpp"
#include "server.hpp"
#include "server_impl.hpp"

namespace sandbox::launcher {

using core::UniqueFd;

namespace {

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

/// Takes back what children no longer use, and notes what became of them.
void Server::tidy_slots() {
  slots_.tidy([this](const Slot& slot) {
    for (auto& [id, sandbox] : sandboxes_) {
      if (sandbox->slot != &slot) continue;
      sandbox->outcome.timings.assign(std::begin(slot.state.timings), std::end(slot.state.timings));
      if (slot.state.failed.load(std::memory_order_acquire)) {
        sandbox->outcome.operation = slot.state.operation;
        sandbox->outcome.sys_errno = slot.state.sys_errno;
        sandbox->outcome.message = Error::from_errno(slot.state.sys_errno, {}, slot.state.detail).message();
      }
      sandbox->slot = nullptr;
    }
  });
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
  tidy_slots();
  Slot* slot = slots_.acquire();
  if (!slot) return Error::from_errno(ENOMEM, "native.launch", "stack");
  sandbox.slot = slot;
  slot->recipe = recipe;
  ChildPlan& plan = slot->state.plan;
  plan = recipe->child();

  // What was made ahead, or is made now.
  if (cgroups_->usable()) {
    SANDBOX_TRY(sandbox.cgroups, spares_.take_cgroups());
    SANDBOX_CHECK(sandbox.cgroups.limit(recipe->cgroup_limits()));
  }
  if (!options_.benchmark_without_network_namespace) {
    SANDBOX_TRY(sandbox.network, spares_.take_network());
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

}  // namespace sandbox::launcher
