#include "recipe.hpp"

#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>

namespace sandbox::launcher {
namespace {

/// Descriptors process 1 may have, unless its programs may have more.
constexpr std::uint64_t kAgentFiles = 4096;
/// CPU quota, µs per 100 ms.
constexpr std::uint32_t kWholeProcessor = 100'000;

bool is_directory(const std::string& path) {
  struct stat info {};
  return ::lstat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

/// What cannot hold on this host for this plan: "limit: why".
std::vector<std::string> missing_limits(const os::CgroupTree& cgroups, bool rootless) {
  std::vector<std::string> missing;
  const std::pair<os::Controller, const char*> wanted[] = {
      {os::Controller::memory, "memory"}, {os::Controller::cpu, "cpus"}, {os::Controller::pids, "pids"}};
  for (const auto& [controller, limit] : wanted) {
    if (cgroups.has(controller)) continue;
    // Without its cgroup the number of processes is still limited, by RLIMIT_NPROC per user namespace.
    if (controller == os::Controller::pids && rootless) continue;
    missing.push_back(std::string(limit) + ": " + cgroups.reason(controller));
  }
  return missing;
}

}  // namespace

const char* Recipe::keep(std::string text) {
  texts_.push_back(std::make_unique<std::string>(std::move(text)));
  return texts_.back()->c_str();
}

Result<std::shared_ptr<Recipe>> Recipe::make(launch::LaunchPlan plan, Base& base, const os::CgroupTree& cgroups,
                                             std::shared_ptr<MountedTree> tree, int landlock_abi, bool door) {
  std::shared_ptr<Recipe> recipe(new Recipe);
  recipe->plan_ = std::move(plan);
  const launch::LaunchPlan& own = recipe->plan_;
  recipe->tree_ = std::move(tree);
  ChildPlan& child = recipe->child_;

  recipe->prepared_.unenforced = missing_limits(cgroups, base.rootless());
  if (!recipe->prepared_.unenforced.empty() && !own.allow_unenforced)
    return Error(ErrorCode::failed_precondition,
                 "this host cannot enforce the limit " + recipe->prepared_.unenforced.front() +
                     " (allow::unenforced_limits goes on without)")
        .with_operation("native.limits");

  child.hostname = own.hostname.c_str();
  child.hostname_size = static_cast<std::uint32_t>(own.hostname.size());
  child.workdir = own.workdir.c_str();
  recipe->argv_ = {const_cast<char*>("sandbox-agent"), nullptr};
  child.argv = recipe->argv_.data();
  // What is for the agent comes first: it takes the first of a name.
  if (cgroups.has(os::Controller::memory)) recipe->environment_.push_back(const_cast<char*>("SANDBOX_OOM_FD=4"));
  if (door) recipe->environment_.push_back(const_cast<char*>("SANDBOX_DOOR_FD=5"));
  recipe->environment_.push_back(const_cast<char*>(recipe->keep("SANDBOX_OPEN_FILES=" + std::to_string(own.open_files))));
  // An agent that looks for the next request takes a processor meanwhile; with less than one that would be the programs' time.
  if (own.cpu_quota >= kWholeProcessor) recipe->environment_.push_back(const_cast<char*>("SANDBOX_LOOK=1"));
  for (const std::string& variable : own.environment) recipe->environment_.push_back(const_cast<char*>(variable.c_str()));
  recipe->environment_.push_back(nullptr);
  child.environment = recipe->environment_.data();
  child.filter.len = static_cast<unsigned short>(own.filter.size() / sizeof(sock_filter));
  child.filter.filter = reinterpret_cast<sock_filter*>(const_cast<char*>(own.filter.data()));

  // A hard limit can only go down (this root may lack CAP_SYS_RESOURCE), so each is at most what we have; the one the
  // caller asked for by number must be granted exactly.
  auto limit = [&](int resource, const char* name, std::uint64_t most) {
    struct rlimit now {};
    ::getrlimit(resource, &now);
    recipe->limits_.push_back({resource, name, std::min<std::uint64_t>(most, now.rlim_max)});
  };
  // The agent lives under more than its programs, which it gives the plan's number when it starts them: 64 descriptors
  // would not be enough to serve a caller who moves a few files at once.
  limit(RLIMIT_NOFILE, "NOFILE", kAgentFiles);
  recipe->limits_.back().most = std::max<std::uint64_t>(recipe->limits_.back().most, own.open_files);
  limit(RLIMIT_CORE, "CORE", 0);
  limit(RLIMIT_MSGQUEUE, "MSGQUEUE", 819200);
  limit(RLIMIT_MEMLOCK, "MEMLOCK", 65536);
  limit(RLIMIT_SIGPENDING, "SIGPENDING", 1024);
  if (!cgroups.has(os::Controller::pids)) limit(RLIMIT_NPROC, "NPROC", own.pids);
  child.limits = recipe->limits_.data();
  child.limit_count = static_cast<int>(recipe->limits_.size());

  child.rootless = base.rootless();
  child.writable_root = own.writable_root;
  child.landlock_abi = landlock_abi;

  recipe->mask_is_directory_ = std::make_unique<bool[]>(base.masks().size());
  for (const std::string& mask : base.masks()) {
    recipe->mask_is_directory_[recipe->masks_.size()] = mask.back() == '/';
    const std::string name = mask.back() == '/' ? mask.substr(0, mask.size() - 1) : mask;
    recipe->masks_.push_back(recipe->keep("/new/proc/" + name));
    recipe->prepared_.mounts.push_back("/proc/" + name);
  }
  child.masks = recipe->masks_.data();
  child.mask_is_directory = recipe->mask_is_directory_.get();
  child.mask_count = static_cast<int>(recipe->masks_.size());

  // The writable part.
  struct Place {
    const char* name;
    const char* inside;
    unsigned mode;
    bool no_exec;
  };
  constexpr Place kPlaces[] = {{"root", "/root", 0700, false}, {"tmp", "/tmp", 01777, true}, {"shm", "/dev/shm", 01777, true}};
  std::string scratch_at;
  if (!own.scratch_layer.empty()) {
    SANDBOX_TRY(recipe->scratch_, base.mount_scratch(own.scratch_layer));
    scratch_at = recipe->scratch_->lowers.front();
  }
  bool works = own.writable_root;
  for (const Place& place : kPlaces) {
    const std::string source = std::string("/work/") + place.name;
    recipe->directories_.push_back({recipe->keep(source), place.mode});
    const bool lower = !scratch_at.empty() && is_directory(scratch_at + "/" + place.name);
    const char* options = nullptr;
    if (lower) {
      works = true;
      options = recipe->keep("lowerdir=/scratch/" + std::string(place.name) + ",upperdir=" + source +
                             ",workdir=/work/work/" + place.name + ",userxattr");
    }
    recipe->places_.push_back({recipe->directories_.back().path, recipe->keep(std::string("/new") + place.inside), place.inside,
                               place.no_exec, options});
    recipe->prepared_.mounts.push_back(place.inside);
  }
  if (works) {
    recipe->directories_.push_back({"/work/work", 0755});
    for (const WritablePlace& place : recipe->places_)
      if (place.options) recipe->directories_.push_back({recipe->keep("/work/work" + std::string(place.source + 5)), 0755});
  }

  // The root.
  if (recipe->tree_->overlay) {
    std::vector<std::string> lowers = recipe->tree_->lowers;
    std::string joined;
    for (std::size_t i = 0; i < lowers.size(); ++i) {
      recipe->lower_targets_.push_back(recipe->keep("/lower/" + std::to_string(i)));
      joined += (i ? ":" : "") + std::string(recipe->lower_targets_.back());
    }
    std::string upper;
    if (own.writable_root) {
      // A template's root changes are its topmost lower.
      if (!scratch_at.empty() && is_directory(scratch_at + "/upper")) joined = "/scratch/upper:" + joined;
      recipe->directories_.push_back({"/work/upper", 0755});
      recipe->directories_.push_back({"/work/work/upper", 0755});
      upper = ",upperdir=/work/upper,workdir=/work/work/upper";
    }
    // A read-only overlay needs two lowers; an empty one does no harm.
    if (upper.empty() && lowers.size() == 1) joined = "/empty:" + joined;
    child.root_options = recipe->keep("lowerdir=" + joined + upper + ",userxattr");
    child.lower_targets = recipe->lower_targets_.data();
    child.lower_count = static_cast<int>(recipe->lower_targets_.size());
    if (recipe->tree_->attached.size() > kMaxAttached)
      return Error(ErrorCode::invalid_argument, "too many mounts in one image").with_operation("native.plan");
    for (std::size_t i = 0; i < recipe->tree_->attached.size(); ++i) {
      const std::string& inside = recipe->tree_->attached[i].first;
      AttachedTree attached{nullptr, recipe->keep("/new/" + inside), nullptr};
      if (inside != "dev") {
        // The same subtree of the layers above a host directory, when they have one.
        std::string above;
        for (std::size_t lower = 0; lower < lowers.size(); ++lower)
          if (lowers[lower].find("/composed") == std::string::npos && is_directory(lowers[lower] + "/" + inside))
            above += std::string(recipe->lower_targets_[lower]) + "/" + inside + ":";
        if (own.writable_root && !scratch_at.empty() && is_directory(scratch_at + "/upper/" + inside))
          above = "/scratch/upper/" + inside + ":" + above;
        if (!above.empty() || own.writable_root) {
          const std::string name(1, static_cast<char>('a' + i));
          attached.lower = recipe->keep("/attached/" + name);
          std::string options = "lowerdir=" + above + attached.lower;
          if (own.writable_root) {
            recipe->directories_.push_back({recipe->keep("/work/upper/" + inside), 0755});
            recipe->directories_.push_back({recipe->keep("/work/work/" + name), 0755});
            options += ",upperdir=/work/upper/" + inside + ",workdir=/work/work/" + name;
          }
          attached.options = recipe->keep(options + ",userxattr");
        }
      }
      recipe->attached_.push_back(attached);
    }
    child.attached_trees = recipe->attached_.data();
    child.attached_count = static_cast<int>(recipe->attached_.size());
  }
  child.directories = recipe->directories_.data();
  child.directory_count = static_cast<int>(recipe->directories_.size());
  child.places = recipe->places_.data();
  child.place_count = static_cast<int>(recipe->places_.size());

  auto& mounts = recipe->prepared_.mounts;
  mounts.insert(mounts.end(), recipe->tree_->mounts.begin(), recipe->tree_->mounts.end());
  for (const char* always : {"/", "/proc", "/dev/pts"}) mounts.emplace_back(always);
  std::sort(mounts.begin(), mounts.end());
  return recipe;
}

}  // namespace sandbox::launcher
