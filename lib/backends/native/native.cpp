#include "backends/native/native.hpp"

#include <sodium/crypto_hash_sha256.h>
#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

#include "backends/native/bridge_resolvers.hpp"
#include "backends/native/adoption.hpp"
#include "backends/native/instance.hpp"
#include "backends/native/launcher.hpp"
#include "backends/native/rendezvous.hpp"
#include "backends/native/userland.hpp"
#include "backends/native/verify.hpp"
#include "core/sync_point.hpp"
#include "core/text.hpp"
#include "os/memfd.hpp"
#include "os/seccomp.hpp"
#include "protocol/build_id.hpp"

namespace sandbox::native {
namespace {

using core::TimePoint;

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
    SANDBOX_SYNC_POINT("native.before_create");
    launcher->creating.fetch_add(1, std::memory_order_relaxed);
    auto answer = launcher->call(launch::Kind::create, protocol::encode(request), deadline);
    launcher->creating.fetch_sub(1, std::memory_order_relaxed);
    if (!answer) return std::move(answer).error();
    SANDBOX_TRY(auto created, protocol::decode<launch::Created>(as_bytes(answer->body)));
    SANDBOX_SYNC_POINT("native.created");
    if (answer->fds.size() != 2) return Error(ErrorCode::protocol, "the launcher's answer lacks descriptors").with_operation("native.launcher");
    return std::unique_ptr<backend::Instance>(std::make_unique<NativeInstance>(
        launcher, expected_, created.id, std::move(answer->fds[0]), std::move(answer->fds[1]), core::SteadyClock::now()));
  }

  const Expectation& expected() const noexcept { return *expected_; }
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

std::string digest_of(std::string_view bytes) {
  unsigned char digest[crypto_hash_sha256_BYTES];
  crypto_hash_sha256(digest, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
  return core::to_hex(digest, sizeof digest);
}

Result<std::string> digest_of(int file) {
  crypto_hash_sha256_state state;
  crypto_hash_sha256_init(&state);
  std::vector<unsigned char> piece(1 << 16);
  for (off_t at = 0;;) {
    const ssize_t size = ::pread(file, piece.data(), piece.size(), at);
    if (size < 0) return Error::from_errno(errno, "native.policy", "helper program");
    if (size == 0) break;
    crypto_hash_sha256_update(&state, piece.data(), static_cast<std::size_t>(size));
    at += size;
  }
  unsigned char digest[crypto_hash_sha256_BYTES];
  crypto_hash_sha256_final(&state, digest);
  return core::to_hex(digest, sizeof digest);
}

Error refuse(const std::string& what) { return Error(ErrorCode::invalid_argument, what).with_operation("native.spec"); }

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
  plan.pinned = image.pinned;
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
    SANDBOX_CHECK(static_cast<NativeInstance&>(*trial).greet(deadline));
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
    SANDBOX_SYNC_POINT("native.before_prepare");
    SANDBOX_CHECK(launch::validate(plan));
    const std::string body = protocol::encode(plan);
    launch::Prepared prepared;
    for (const auto& launcher : launchers) {
      SANDBOX_TRY(auto answer, launcher->call(launch::Kind::prepare, body, soon()));
      SANDBOX_TRY(prepared, protocol::decode<launch::Prepared>(as_bytes(answer.body)));
    }
    SANDBOX_SYNC_POINT("native.prepared");
    auto expected = std::make_shared<Expectation>(plan, prepared);
    expected->benchmark_without_network_namespace = options_.benchmark_without_network_namespace;
    return std::shared_ptr<backend::Recipe>(std::make_shared<NativeRecipe>(std::move(launchers), plan.recipe, std::move(expected)));
  }

  Result<std::vector<std::string>> policy(TimePoint deadline) override {
    SANDBOX_TRY(auto launchers, started(deadline));
    const launch::Configured& facts = launchers.front()->facts();
    std::vector<std::string> lines = {"backend native", facts.rootless ? "launchers rootless" : "launchers as root"};
    // The launcher decides about mounts, ids, capabilities and limits, the agent about what programs start with: which ones.
    const std::string directory = helper_directory(options_.helper_directory);
    for (const char* name : {"sandbox-launcher", "sandbox-agent"}) {
      SANDBOX_TRY(const auto file, os::open_helper(directory, name));
      SANDBOX_TRY(const std::string digest, digest_of(file.get()));
      lines.push_back(std::string("program ") + name + " sha256 " + digest);
    }
    lines.push_back("filter sha256 " + digest_of(filter_) + " of " + std::to_string(filter_.size()) + " bytes");
    for (const char* set : {"inheritable", "permitted", "effective", "bounding", "ambient"}) lines.push_back(std::string("capabilities ") + set + " none");
    lines.push_back("landlock abi " + std::to_string(facts.landlock_abi));
    for (const std::string& lock : facts.enforced) lines.push_back("enforced " + lock);
    for (const std::string& lock : facts.unenforced) lines.push_back("not enforced " + lock);
    if (options_.benchmark_without_network_namespace) lines.push_back("network of the host");
    SandboxSpec spec;
    if (!facts.unenforced.empty()) spec.allow(allow::unenforced_limits{});
    const Limits limits = spec.limits();
    lines.push_back("limits memory " + std::to_string(limits.memory().bytes()) + " cpu " + std::to_string(std::lround(limits.cpus() * 1000)) + " pids " +
                    std::to_string(limits.pids()) + " files " + std::to_string(limits.open_files()) + " disk " + std::to_string(limits.disk().bytes()) +
                    " inodes " + std::to_string(limits.inodes()));
    backend::ResolvedImage image;
    image.host_userland = true;
    SANDBOX_TRY(const auto recipe, prepare(spec, image));
    for (const std::string& mount : static_cast<const NativeRecipe&>(*recipe).expected().mounts) lines.push_back("mount " + mount);
    return lines;
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
    // Launchers that were killed left the files of their sockets.
    if (rendezvous_) rendezvous_->callers().clear();
    rendezvous_.reset();
    return {};
  }

  Result<void> leave() override {
    Launchers launchers;
    {
      std::lock_guard lock(mutex_);
      closed_ = true;
      launchers.swap(launchers_);
    }
    for (const auto& launcher : launchers) launcher->leave();
    rendezvous_.reset();
    return {};
  }

  Result<std::vector<backend::Found>> adopt(TimePoint deadline) override {
    if (options_.run_directory.empty()) return std::vector<backend::Found>();
    SANDBOX_TRY(auto launchers, started(deadline));
    std::vector<backend::Found> found = std::move(unreachable_);
    for (const auto& launcher : launchers)
      if (launcher->taken_over()) SANDBOX_CHECK(adopt_from(launcher, deadline, found));
    return found;
  }

 private:
  /// The launchers, started when this is the first time.
  Result<Launchers> started(TimePoint deadline) {
    std::lock_guard lock(mutex_);
    if (closed_) return Error(ErrorCode::unavailable, "the backend is closed").with_operation("native.backend");
    if (!launchers_.empty() && std::all_of(launchers_.begin(), launchers_.end(), [](const auto& l) { return l->alive(); }))
      return launchers_;
    const std::string directory = native::helper_directory(options_.helper_directory);
    SANDBOX_TRY(auto launcher_file, os::open_helper(directory, "sandbox-launcher"));
    SANDBOX_TRY(auto agent_file, os::open_helper(directory, "sandbox-agent"));
    SANDBOX_TRY(auto agent, os::sealed_program(agent_file.get(), "sandbox-agent"));
    SANDBOX_TRY(filter_, os::compile_filter());
    launch::Configure configure;
    configure.bridge_address = options_.bridge_address;
    configure.bridge_prefix = options_.bridge_prefix;
    configure.lock_directory = options_.lock_directory;
    configure.benchmark_without_network_namespace = options_.benchmark_without_network_namespace;
    configure.build = protocol::build_id();
    if (!options_.run_directory.empty() && !rendezvous_) {
      SANDBOX_TRY(rendezvous_, Rendezvous::open(options_.run_directory, deadline));
      for (auto& left : rendezvous_->callers()) {
        auto launcher = Launcher::take_over(std::move(left.socket), agent.get(), configure, deadline);
        if (launcher) {
          launchers_.push_back(*std::move(launcher));
        } else if (launcher.error().code() == ErrorCode::unavailable) {
          launcher.error().ignore("it was about to end: nothing is left there");
        } else {
          unreachable_.push_back({{}, nullptr, false, left.name + ": " + launcher.error().to_string()});
          launcher.error().ignore("reported by adopt()");
        }
      }
    }
    const std::uint32_t wanted = options_.launchers ? options_.launchers : std::clamp(std::thread::hardware_concurrency() / 2, 2u, 8u);
    Launchers started;
    for (const auto& launcher : launchers_)
      if (launcher->alive()) started.push_back(launcher);
    const bool first = !started_before_;
    while (started.size() < wanted) {  // at the start all of them, later those that died
      SANDBOX_TRY(auto launcher, Launcher::start(launcher_file.get(), agent.get(), configure, deadline));
      if (rendezvous_) SANDBOX_CHECK(rendezvous_->persist(*launcher, options_.orphan_time, deadline));
      started.push_back(std::move(launcher));
      if (!first) restarts_.fetch_add(1, std::memory_order_relaxed);
    }
    launchers_ = started;
    started_before_ = true;
    return started;
  }

  const NativeOptions options_;
  std::atomic<std::uint64_t> restarts_{0};
  std::mutex mutex_;  ///< of what follows
  Launchers launchers_;
  std::string filter_;
  std::uint32_t next_recipe_ = 0;
  bool closed_ = false;
  bool started_before_ = false;
  std::unique_ptr<Rendezvous> rendezvous_;             ///< persistent only
  std::vector<backend::Found> unreachable_;            ///< launchers that could not be taken over
};

}  // namespace

std::string helper_directory(const std::string& configured) {
  if (!configured.empty()) return configured;
  if (const char* directory = std::getenv("SANDBOX_BIN_DIR")) return directory;
  const auto directory_of = [](std::string_view path) { return std::string(path.substr(0, path.rfind('/'))); };
  std::vector<std::string> candidates;
  char program[4096];
  const ssize_t size = ::readlink("/proc/self/exe", program, sizeof program);
  candidates.push_back(directory_of(std::string_view(program, size > 0 ? static_cast<std::size_t>(size) : 0)));
  candidates.push_back(candidates.front() + "/../libexec/sandbox");
  // Of a program's own code this may be a word of its command line; of a library it is the path it was loaded from.
  Dl_info object;
  if (::dladdr(reinterpret_cast<const void*>(&helper_directory), &object) != 0 && object.dli_fname != nullptr) {
    if (const std::unique_ptr<char, decltype(&std::free)> path(::realpath(object.dli_fname, nullptr), &std::free); path) {
      const std::string beside = directory_of(path.get());
      // The last one from a multiarch directory, /usr/lib/x86_64-linux-gnu.
      candidates.insert(candidates.end(), {beside, beside + "/../bin", beside + "/../libexec/sandbox", beside + "/../../libexec/sandbox"});
    }
  }
  // Where installing put them, for programs elsewhere that the library is linked into.
  candidates.insert(candidates.end(), {SANDBOX_HELPER_DIR, "/usr/libexec/sandbox"});
  for (const std::string& candidate : candidates)
    if (::access((candidate + "/sandbox-launcher").c_str(), X_OK) == 0) return candidate;
  return candidates.front();
}

std::unique_ptr<backend::Backend> make_backend(NativeOptions options) {
  return std::make_unique<NativeBackend>(std::move(options));
}

}  // namespace sandbox::native
