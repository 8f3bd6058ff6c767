#include "backends/native/native.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <map>
#include <mutex>
#include <thread>

#include "backends/native/bridge_resolvers.hpp"
#include "backends/native/launcher.hpp"
#include "backends/native/userland.hpp"
#include "backends/native/verify.hpp"
#include "os/memfd.hpp"
#include "os/seccomp.hpp"
#include "os/syscalls.hpp"

namespace sandbox::native {
namespace {

using core::TimePoint;
using core::UniqueFd;

constexpr auto kPatience = std::chrono::seconds(10);  ///< for a launcher's answer to anything but a create

TimePoint soon() { return core::SteadyClock::now() + kPatience; }

int milliseconds_until(TimePoint deadline) {
  if (deadline == TimePoint::max()) return -1;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - core::SteadyClock::now()).count();
  return static_cast<int>(std::clamp<long>(left, 0, 1 << 30));
}

/// poll of one descriptor; the events seen, 0 at the deadline.
short wait_for(int fd, short events, TimePoint deadline) {
  for (;;) {
    pollfd one{fd, events, 0};
    const int ready = ::poll(&one, 1, milliseconds_until(deadline));
    if (ready < 0 && errno == EINTR) continue;
    return ready > 0 ? one.revents : short{0};
  }
}

// ---- Instance -----------------------------------------------------------------------------------------------------------

class NativeInstance final : public backend::Instance {
 public:
  NativeInstance(std::shared_ptr<Launcher> launcher, std::shared_ptr<const Expectation> expected, const launch::Created& created,
                 UniqueFd stream, UniqueFd pidfd)
      : launcher_(std::move(launcher)),
        expected_(std::move(expected)),
        id_(created.id),
        stream_(std::move(stream)),
        pidfd_(std::move(pidfd)),
        began_(core::SteadyClock::now()) {
    launcher_->living.fetch_add(1, std::memory_order_relaxed);
  }
  ~NativeInstance() override { destroy().ignore("the launcher takes it away at the latest when it ends"); }

  UniqueFd take_stream() override { return std::move(stream_); }
  int exit_fd() const noexcept override { return pidfd_.get(); }
  const std::vector<std::string>& unenforced() const noexcept override { return expected_->unenforced; }

  Result<void> verify(const protocol::Facts& facts) const override { return expected_->verify(facts); }

  Result<void> destroy() override {
    std::lock_guard lock(mutex_);
    if (destroyed_) return {};
    destroyed_ = true;
    launcher_->living.fetch_sub(1, std::memory_order_relaxed);
    // The kill comes from here: no other process has to wake up first. What the sandbox used on the host is the
    // launcher's to give back, and it does so when it sees the end.
    const bool killed = !paused_ && os::pidfd_send_signal(pidfd_.get(), SIGKILL) != -EPERM;
    if (!killed) {
      SANDBOX_TRY(auto done, launcher_->call(launch::Kind::destroy, target(), soon()));
      (void)done;
      return {};
    }
    launcher_->tell(launch::Kind::destroy, target());
    if (!wait_for(pidfd_.get(), POLLIN, soon()))
      return Error(ErrorCode::deadline_exceeded, "the sandbox's processes did not end").with_operation("native.destroy");
    return {};
  }

  Result<SandboxStats> stats() override {
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

  Result<void> pause() override {
    std::lock_guard lock(mutex_);
    paused_ = true;
    return simple(launch::Kind::freeze);
  }
  Result<void> resume() override {
    std::lock_guard lock(mutex_);
    SANDBOX_CHECK(simple(launch::Kind::thaw));
    paused_ = false;
    return {};
  }

  Result<UniqueFd> connect(std::uint16_t port, TimePoint deadline) override {
    launch::Port request;
    request.id = id_;
    request.port = port;
    request.timeout_ms = static_cast<std::uint32_t>(std::max(1, milliseconds_until(std::min(deadline, core::SteadyClock::now() + std::chrono::hours(1)))));
    SANDBOX_TRY(auto answer, launcher_->call(launch::Kind::connect, protocol::encode(request), deadline));
    if (answer.fds.size() != 1) return Error(ErrorCode::protocol, "no socket came with the answer").with_operation("native.connect");
    return std::move(answer.fds.front());
  }
  Result<bool> listening(std::uint16_t port) override {
    launch::Port request;
    request.id = id_;
    request.port = port;
    SANDBOX_TRY(auto answer, launcher_->call(launch::Kind::listening, protocol::encode(request), soon()));
    SANDBOX_TRY(auto found, protocol::decode<launch::Listening>(as_bytes(answer.body)));
    return found.listening;
  }
  Result<Writable> writable() override {
    SANDBOX_TRY(auto answer, launcher_->call(launch::Kind::writable, target(), soon()));
    SANDBOX_TRY(auto facts, protocol::decode<launch::Writable>(as_bytes(answer.body)));
    if (answer.fds.size() != 1) return Error(ErrorCode::protocol, "no directory came with the answer").with_operation("native.writable");
    Writable writable;
    writable.directory = std::move(answer.fds.front());
    writable.first_id = facts.first_id;
    return writable;
  }
  std::uint64_t oom_kills() override {
    auto outcome = ended();
    if (!outcome) {
      outcome.error().ignore("unknown counts as none");
      return 0;
    }
    return outcome->oom_kills;
  }

  /// How it ended. Waits for the end.
  Result<launch::Outcome> ended() {
    SANDBOX_TRY(auto answer, launcher_->call(launch::Kind::outcome, target(), soon()));
    return protocol::decode<launch::Outcome>(as_bytes(answer.body));
  }

  /// Waits until the agent has said something. Errors: the step at which the launch failed.
  Result<void> wait_for_agent(TimePoint deadline) {
    const short seen = wait_for(stream_.get(), POLLIN, deadline);
    if (!seen) return Error(ErrorCode::deadline_exceeded, "the agent did not start in time").with_operation("native.launch");
    char byte;
    if (::recv(stream_.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0) return {};
    SANDBOX_TRY(auto outcome, ended());
    if (!outcome.operation.empty()) {
      Error error(ErrorCode::failed_precondition, outcome.message);
      return Error::from_errno(outcome.sys_errno, outcome.operation).code() == ErrorCode::resource_exhausted
                 ? Error(ErrorCode::resource_exhausted, outcome.message).with_operation(outcome.operation).with_errno(outcome.sys_errno)
                 : std::move(error).with_operation(outcome.operation).with_errno(outcome.sys_errno);
    }
    return Error(ErrorCode::unavailable, outcome.signal ? "the agent was killed by signal " + std::to_string(outcome.signal) +
                                                              (outcome.oom_kills ? ": the memory limit is too small to start" : "")
                                                        : "the agent ended with code " + std::to_string(outcome.exit_code))
        .with_operation("native.agent");
  }

 private:
  std::string target() const {
    launch::Target target;
    target.id = id_;
    return protocol::encode(target);
  }
  Result<void> simple(launch::Kind kind) {
    SANDBOX_TRY(auto answer, launcher_->call(kind, target(), soon()));
    (void)answer;
    return {};
  }

  const std::shared_ptr<Launcher> launcher_;
  const std::shared_ptr<const Expectation> expected_;
  const std::uint64_t id_;
  UniqueFd stream_;
  const UniqueFd pidfd_;
  const TimePoint began_;
  std::mutex mutex_;  ///< of what follows
  bool paused_ = false;
  bool destroyed_ = false;
};

// ---- Recipe -------------------------------------------------------------------------------------------------------------

using Launchers = std::vector<std::shared_ptr<Launcher>>;

class NativeRecipe final : public backend::Recipe {
 public:
  NativeRecipe(Launchers launchers, std::uint32_t number, std::shared_ptr<const Expectation> expected)
      : launchers_(std::move(launchers)), number_(number), expected_(std::move(expected)) {}
  ~NativeRecipe() override {
    launch::Drop drop;
    drop.recipe = number_;
    for (const auto& launcher : launchers_) launcher->tell(launch::Kind::drop, protocol::encode(drop));
  }

  Result<std::unique_ptr<backend::Instance>> create(TimePoint deadline) override {
    std::shared_ptr<Launcher> launcher = least_loaded();
    if (!launcher) return Error(ErrorCode::unavailable, "every launcher has ended").with_operation("native.launcher");
    launch::Create request;
    request.recipe = number_;
    launcher->creating.fetch_add(1, std::memory_order_relaxed);
    auto answer = launcher->call(launch::Kind::create, protocol::encode(request), deadline);
    launcher->creating.fetch_sub(1, std::memory_order_relaxed);
    if (!answer) return std::move(answer).error();
    SANDBOX_TRY(auto created, protocol::decode<launch::Created>(as_bytes(answer->body)));
    if (answer->fds.size() != 2) return Error(ErrorCode::protocol, "the launcher's answer lacks descriptors").with_operation("native.launcher");
    auto instance = std::make_unique<NativeInstance>(launcher, expected_, created, std::move(answer->fds[0]), std::move(answer->fds[1]));
    // One that waits for a sealed hello says nothing here; what kept it from starting shows in the handshake.
    if (!expected_->sealed) SANDBOX_CHECK(instance->wait_for_agent(deadline));
    return std::unique_ptr<backend::Instance>(std::move(instance));
  }

  bool stale() const noexcept override {
    return !std::all_of(launchers_.begin(), launchers_.end(), [](const auto& launcher) { return launcher->alive(); });
  }

 private:
  std::shared_ptr<Launcher> least_loaded() const {
    std::shared_ptr<Launcher> best;
    std::uint64_t least = ~0ull;
    for (const auto& launcher : launchers_) {
      if (!launcher->alive()) continue;
      const std::uint64_t load = std::uint64_t{launcher->creating.load(std::memory_order_relaxed)} << 32 | launcher->living.load(std::memory_order_relaxed);
      if (load < least) {
        least = load;
        best = launcher;
      }
    }
    return best;
  }

  const Launchers launchers_;
  const std::uint32_t number_;
  const std::shared_ptr<const Expectation> expected_;
};

// ---- Backend ------------------------------------------------------------------------------------------------------------

Error refuse(const std::string& what) { return Error(ErrorCode::invalid_argument, what).with_operation("native.spec"); }

std::string default_helper_directory() {
  if (const char* directory = std::getenv("SANDBOX_BIN_DIR")) return directory;
  char path[4096];
  const ssize_t size = ::readlink("/proc/self/exe", path, sizeof path);
  const std::string_view text(path, size > 0 ? static_cast<std::size_t>(size) : 0);
  return std::string(text.substr(0, text.rfind('/')));
}

Result<launch::LaunchPlan> compile(const SandboxSpec& spec, const backend::ResolvedImage& image, const std::string& filter,
                                   const std::vector<std::string>& resolvers) {
  const Limits& limits = spec.limits();
  const double cores = std::max(1u, std::thread::hardware_concurrency());
  if (!(limits.cpus() >= 0.01) || limits.cpus() > cores)
    return refuse("cpus: 0.01 to " + std::to_string(static_cast<int>(cores)));
  launch::LaunchPlan plan;
  std::string resolv_conf = "# no network\n";
  if (spec.network() == Network::bridge) {
    SANDBOX_TRY(resolv_conf, bridge_resolv_conf(resolvers));
  }
  if (image.host_userland) {
    plan.tree.entries = host_userland(spec.hostname(), resolv_conf);
  } else if (spec.network() == Network::bridge) {
    // Below the image's layers: an image that brings its own resolv.conf keeps it.
    plan.tree.entries = {{launch::EntryKind::directory, "etc", "", 0}, {launch::EntryKind::file, "etc/resolv.conf", resolv_conf, 0}};
  }
  plan.tree.layers = image.layers;
  plan.scratch_layer = image.scratch_layer;
  plan.writable_root = spec.is_root_writable();
  plan.hostname = spec.hostname();
  plan.workdir = spec.workdir();
  std::map<std::string, std::string> environment = {
      {"PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, {"HOME", "/root"}, {"LANG", "C.UTF-8"}, {"TERM", "dumb"}};
  for (const auto& [name, value] : spec.env()) {
    if (name.empty() || name.find('=') != name.npos) return refuse("env: a name is empty or contains '='");
    environment[name] = value;
  }
  for (const auto& [name, value] : environment) plan.environment.push_back(name + "=" + value);
  if (!spec.is_sealed()) plan.environment.push_back("SANDBOX_SPEAK_FIRST=1");  // else it waits for the client's first bytes
  plan.network = spec.network() == Network::bridge ? launch::NetworkMode::bridge : launch::NetworkMode::none;
  plan.memory = limits.memory().bytes();
  plan.cpu_quota = static_cast<std::uint32_t>(std::lround(limits.cpus() * 100000));
  plan.pids = limits.pids();
  plan.open_files = limits.open_files();
  plan.disk = limits.disk().bytes();
  plan.inodes = limits.inodes();
  plan.filter = filter;
  plan.allow_unenforced = spec.allows_unenforced_limits();
  return plan;
}

class NativeBackend final : public backend::Backend {
 public:
  explicit NativeBackend(NativeOptions options) : options_(std::move(options)) {}
  ~NativeBackend() override { close().ignore("it has ended either way"); }

  std::string_view name() const noexcept override { return "native"; }

  Result<HostReport> probe(TimePoint deadline) override {
    SANDBOX_TRY(auto launchers, started(deadline));
    const launch::Configured& facts = launchers.front()->facts();
    HostReport report;
    report.backend = "native";
    report.rootless = facts.rootless;
    report.enforced = facts.enforced;
    report.unenforced = facts.unenforced;
    // A real one, made and taken away: what is switched off in a kernel shows only when it is tried.
    SandboxSpec spec;
    if (!facts.unenforced.empty()) spec.allow(allow::unenforced_limits{});
    backend::ResolvedImage image;
    image.host_userland = true;
    SANDBOX_TRY(auto recipe, prepare(spec, image));
    SANDBOX_TRY(auto trial, recipe->create(deadline));
    SANDBOX_CHECK(trial->destroy());
    return report;
  }

  Result<std::shared_ptr<backend::Recipe>> prepare(const SandboxSpec& spec, const backend::ResolvedImage& image) override {
    SANDBOX_TRY(auto launchers, started(soon()));
    SANDBOX_TRY(auto plan, compile(spec, image, filter_, options_.bridge_resolvers));
    {
      std::lock_guard lock(mutex_);
      plan.recipe = ++next_recipe_;
    }
    SANDBOX_CHECK(launch::validate(plan));
    const std::string body = protocol::encode(plan);
    launch::Prepared prepared;
    for (const auto& launcher : launchers) {
      SANDBOX_TRY(auto answer, launcher->call(launch::Kind::prepare, body, soon()));
      SANDBOX_TRY(prepared, protocol::decode<launch::Prepared>(as_bytes(answer.body)));
    }
    auto expected = std::make_shared<Expectation>(plan, prepared);
    expected->sealed = spec.is_sealed();
    expected->benchmark_without_network_namespace = options_.benchmark_without_network_namespace;
    return std::shared_ptr<backend::Recipe>(std::make_shared<NativeRecipe>(std::move(launchers), plan.recipe, std::move(expected)));
  }

  std::uint64_t restarts() const noexcept override { return restarts_.load(std::memory_order_relaxed); }

  Result<void> close() override {
    Launchers launchers;
    {
      std::lock_guard lock(mutex_);
      closed_ = true;
      launchers.swap(launchers_);
    }
    for (const auto& launcher : launchers) launcher->close(soon());
    return {};
  }

 private:
  /// The launchers, started when this is the first time.
  Result<Launchers> started(TimePoint deadline) {
    std::lock_guard lock(mutex_);
    if (closed_) return Error(ErrorCode::unavailable, "the backend is closed").with_operation("native.backend");
    if (!launchers_.empty() && std::all_of(launchers_.begin(), launchers_.end(), [](const auto& l) { return l->alive(); }))
      return launchers_;
    const std::string directory = options_.helper_directory.empty() ? default_helper_directory() : options_.helper_directory;
    SANDBOX_TRY(auto launcher_file, os::open_helper(directory, "sandbox-launcher"));
    SANDBOX_TRY(auto agent_file, os::open_helper(directory, "sandbox-agent"));
    SANDBOX_TRY(auto agent, os::sealed_program(agent_file.get(), "sandbox-agent"));
    SANDBOX_TRY(filter_, os::compile_filter());
    launch::Configure configure;
    configure.bridge_address = options_.bridge_address;
    configure.bridge_prefix = options_.bridge_prefix;
    configure.lock_directory = options_.lock_directory;
    configure.benchmark_without_network_namespace = options_.benchmark_without_network_namespace;
    const std::uint32_t wanted = options_.launchers ? options_.launchers : std::clamp(std::thread::hardware_concurrency() / 2, 2u, 8u);
    Launchers started;
    for (const auto& launcher : launchers_)
      if (launcher->alive()) started.push_back(launcher);
    const bool first = launchers_.empty();
    while (started.size() < wanted) {  // at the start all of them, later those that died
      SANDBOX_TRY(auto launcher, Launcher::start(launcher_file.get(), agent.get(), configure, deadline));
      started.push_back(std::move(launcher));
      if (!first) restarts_.fetch_add(1, std::memory_order_relaxed);
    }
    launchers_ = started;
    return started;
  }

  const NativeOptions options_;
  std::atomic<std::uint64_t> restarts_{0};
  std::mutex mutex_;  ///< of what follows
  Launchers launchers_;
  std::string filter_;
  std::uint32_t next_recipe_ = 0;
  bool closed_ = false;
};

}  // namespace

std::unique_ptr<backend::Backend> make_backend(NativeOptions options) {
  return std::make_unique<NativeBackend>(std::move(options));
}

}  // namespace sandbox::native
