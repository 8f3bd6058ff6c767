#include "os/cgroup.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <ctime>

#include "core/clock.hpp"
#include "core/text.hpp"
#include "os/beneath.hpp"

namespace sandbox::os {
namespace {

constexpr const char* kCgroup = "native.cgroup";
constexpr std::size_t kMaxFile = 1 << 20;
/// Waited for others that look whether our own directory is a dead launcher's.
constexpr auto kOthersSweep = std::chrono::seconds(2);

struct Named {
  std::string_view name;
  Controller controller;
};
constexpr Named kControllers[] = {{"memory", Controller::memory},   {"cpu", Controller::cpu},
                                  {"pids", Controller::pids},       {"freezer", Controller::freezer},
                                  {"cpuacct", Controller::cpuacct}};

constexpr std::uint8_t bit(Controller controller) { return static_cast<std::uint8_t>(controller); }

std::string_view next_field(std::string_view& text, char separator) {
  const std::size_t end = text.find(separator);
  const std::string_view field = text.substr(0, end);
  text = end == text.npos ? std::string_view() : text.substr(end + 1);
  return field;
}

std::uint8_t controllers_in(std::string_view list, char separator) {
  std::uint8_t found = 0;
  while (!list.empty()) {
    std::string_view name = next_field(list, separator);
    if (!name.empty() && name.back() == '\n') name.remove_suffix(1);
    for (const Named& known : kControllers)
      if (known.name == name) found |= bit(known.controller);
  }
  return found;
}

/// mountinfo writes space, tab, newline and backslash as octal escapes.
std::string unescape(std::string_view text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size() && text[i + 1] >= '0' && text[i + 1] <= '3') {
      plain += static_cast<char>((text[i + 1] - '0') << 6 | (text[i + 2] - '0') << 3 | (text[i + 3] - '0'));
      i += 3;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

/// One write, as cgroup files want it. 0 or errno.
int write_file(int directory, const char* path, std::string_view content) {
  core::UniqueFd file(::openat(directory, path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!file) return errno;
  for (;;) {
    const ssize_t count = ::write(file.get(), content.data(), content.size());
    if (count >= 0) return 0;
    if (errno != EINTR) return errno;
  }
}

std::string read_text(int directory, const std::string& path) {
  auto content = beneath::read_file(directory, path, kMaxFile);
  if (!content) {
    content.error().ignore("a missing counter reads as nothing");
    return {};
  }
  return *std::move(content);
}

std::uint64_t number_in(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.remove_suffix(1);
  return core::parse_number<std::uint64_t>(text).value_or(0);
}

/// The number after "key " at the start of a line.
std::uint64_t keyed(std::string_view text, std::string_view key) {
  while (!text.empty()) {
    std::string_view line = next_field(text, '\n');
    if (line.size() > key.size() && line.substr(0, key.size()) == key && line[key.size()] == ' ')
      return number_in(line.substr(key.size() + 1));
  }
  return 0;
}

/// Removes a dead launcher's directory and the cgroups in it. False: something in it has not ended yet.
bool sweep(int sandbox_directory, const std::string& name) {
  core::UniqueFd directory(::openat(sandbox_directory, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!directory) return true;
  if (::flock(directory.get(), LOCK_EX | LOCK_NB) != 0) return true;  // its launcher lives
  auto names = beneath::list(directory.get(), ".");
  if (names) {
    for (const std::string& inner : *names) {
      if (::unlinkat(directory.get(), inner.c_str(), AT_REMOVEDIR) == 0 || errno != EBUSY) continue;
      // Its processes were killed with their launcher. What was frozen then (v1) dies only when it goes on.
      write_file(directory.get(), (inner + "/cgroup.kill").c_str(), "1");
      write_file(directory.get(), (inner + "/cgroup.freeze").c_str(), "0");
      write_file(directory.get(), (inner + "/freezer.state").c_str(), "THAWED");
    }
  } else {
    names.error().ignore("swept by the next launcher");
  }
  return ::unlinkat(sandbox_directory, name.c_str(), AT_REMOVEDIR) == 0 || (errno != EBUSY && errno != ENOTEMPTY);
}

/// sweep() of everything in a directory "sandbox".
bool sweep_all(int sandbox_directory) {
  auto names = beneath::list(sandbox_directory, ".");
  if (!names) {
    names.error().ignore("nothing to sweep then");
    return true;
  }
  bool done = true;
  for (const std::string& other : *names) {
    struct stat info {};
    if (::fstatat(sandbox_directory, other.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(info.st_mode))
      done = sweep(sandbox_directory, other) && done;
  }
  return done;
}

}  // namespace

std::vector<CgroupHierarchy> parse_cgroups(std::string_view proc_self_cgroup, std::string_view mountinfo) {
  std::vector<CgroupHierarchy> result;
  while (!mountinfo.empty()) {
    // 36 35 98:0 /root /mount/point rw,noatime shared:1 - type source superoptions   (proc_pid_mountinfo(5))
    std::string_view line = next_field(mountinfo, '\n');
    const std::size_t dash = line.find(" - ");
    if (dash == line.npos) continue;
    std::string_view tail = line.substr(dash + 3);
    const std::string_view type = next_field(tail, ' ');
    if (type != "cgroup" && type != "cgroup2") continue;
    next_field(tail, ' ');
    const std::string_view options = next_field(tail, ' ');
    std::string_view head = line.substr(0, dash);
    for (int skip = 0; skip < 3; ++skip) next_field(head, ' ');
    const std::string root = unescape(next_field(head, ' '));
    CgroupHierarchy hierarchy;
    hierarchy.v2 = type == "cgroup2";
    hierarchy.mount_point = unescape(next_field(head, ' '));
    hierarchy.controllers = hierarchy.v2 ? 0 : controllers_in(options, ',');
    if (!hierarchy.v2 && hierarchy.controllers == 0) continue;
    const bool seen = std::any_of(result.begin(), result.end(), [&](const CgroupHierarchy& other) {
      return other.v2 == hierarchy.v2 && (hierarchy.v2 || (other.controllers & hierarchy.controllers));
    });
    if (seen) continue;

    // 4:memory:/own/path; v2 is 0::/own/path
    std::string own = "/";
    for (std::string_view rest = proc_self_cgroup; !rest.empty();) {
      std::string_view entry = next_field(rest, '\n');
      const std::string_view id = next_field(entry, ':');
      const std::string_view names = next_field(entry, ':');
      const bool match = hierarchy.v2 ? id == "0" && names.empty() : (controllers_in(names, ',') & hierarchy.controllers) != 0;
      if (match) own = std::string(entry);
    }
    // The mount may show only a part of the hierarchy (`root`), as in a container.
    if (root != "/" && own.compare(0, root.size(), root) == 0) own.erase(0, root.size());
    else if (root != "/") own.clear();
    while (!own.empty() && own.back() == '/') own.pop_back();
    if (own.find("/..") != own.npos) own.clear();  // we stand outside the cgroup namespace's root
    hierarchy.directory = hierarchy.mount_point + own;
    result.push_back(std::move(hierarchy));
  }
  return result;
}

// ---- CgroupTree -------------------------------------------------------------------------------------------------------

namespace {

void pause_a_moment() noexcept {
  const timespec time{0, 1'000'000};
  ::nanosleep(&time, nullptr);
}

/// Opens (making where needed) directory/sandbox/<name>, locked. 0 or errno.
int make_own(int parent, const std::string& name, bool lock, bool v2, const std::string& enable, core::UniqueFd& out) {
  // Every launcher that starts looks at this directory, too, and holds its lock meanwhile: on a busy machine for milliseconds.
  const auto until = core::SteadyClock::now() + kOthersSweep;
  for (bool met = false; !met || core::SteadyClock::now() < until; met = true) {
    if (met) pause_a_moment();
    if (::mkdirat(parent, "sandbox", 0755) != 0 && errno != EEXIST) return errno;
    core::UniqueFd sandbox(::openat(parent, "sandbox", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!sandbox) {
      if (errno == ENOENT) continue;  // another launcher just left and removed it
      return errno;
    }
    if (v2 && !enable.empty()) {
      if (const int error = write_file(sandbox.get(), "cgroup.subtree_control", enable); error != 0) return error;
    }
    sweep_all(sandbox.get());  // again later: CgroupTree::sweep_dead()
    if (::mkdirat(sandbox.get(), name.c_str(), 0755) != 0 && errno != EEXIST) {
      if (errno == ENOENT || errno == ENODEV) continue;
      return errno;
    }
    core::UniqueFd own(::openat(sandbox.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!own) {
      if (errno == ENOENT) continue;
      return errno;
    }
    if (lock && ::flock(own.get(), LOCK_EX | LOCK_NB) != 0) continue;  // somebody is sweeping it
    struct stat info {};
    if (::fstatat(sandbox.get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) continue;  // swept before we had the lock
    if (v2 && !enable.empty()) {
      if (const int error = write_file(own.get(), "cgroup.subtree_control", enable); error != 0) return error;
    }
    out = std::move(own);
    return 0;
  }
  return EBUSY;
}

std::string enable_text(std::uint8_t controllers) {
  std::string text;
  for (const Named& known : kControllers)
    if (controllers & bit(known.controller)) text += (text.empty() ? "+" : " +") + std::string(known.name);
  return text;
}

}  // namespace

std::unique_ptr<CgroupTree> CgroupTree::open(const std::string& name) {
  std::unique_ptr<CgroupTree> tree(new CgroupTree);
  tree->name_ = name;
  // /proc/self is itself a link, which beneath:: would refuse; its target directory is not.
  core::UniqueFd self(::open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  auto hierarchies = parse_cgroups(read_text(self.get(), "cgroup"), read_text(self.get(), "mountinfo"));
  // v1 first: what it has, v2 cannot have.
  std::stable_sort(hierarchies.begin(), hierarchies.end(), [](const auto& a, const auto& b) { return a.v2 < b.v2; });
  const bool has_v2 = std::any_of(hierarchies.begin(), hierarchies.end(), [](const auto& h) { return h.v2; });
  std::uint8_t found = 0;
  auto note = [&](std::uint8_t controllers, const std::string& where, int error) {
    tree->reasons_.emplace_back(controllers, Error::from_errno(error, {}, where).message());
  };

  for (const CgroupHierarchy& hierarchy : hierarchies) {
    Place place;
    place.v2 = hierarchy.v2;
    if (!hierarchy.v2) {
      // v2 freezes and counts CPU time in every cgroup; the v1 hierarchies are only for hosts without it.
      std::uint8_t wanted = bit(Controller::memory) | bit(Controller::cpu) | bit(Controller::pids);
      if (!has_v2) wanted |= bit(Controller::freezer) | bit(Controller::cpuacct);
      place.controllers = hierarchy.controllers & wanted;
      if (place.controllers == 0) continue;
      place.parent = core::UniqueFd(::open(hierarchy.directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      if (!place.parent) {
        note(place.controllers, hierarchy.directory, errno);
        continue;
      }
      if (const int error = make_own(place.parent.get(), name, true, false, {}, place.directory); error != 0) {
        note(place.controllers, hierarchy.directory, error);
        continue;
      }
    } else {
      const std::uint8_t wanted = (bit(Controller::memory) | bit(Controller::cpu) | bit(Controller::pids)) & ~found;
      // The nearest ancestor whose children may have what we want: our own cgroup holds processes, so v2 lets its
      // children have controllers only where it is the root.
      std::string at = hierarchy.directory;
      std::uint8_t best = 0;
      for (bool last = false; !last;) {
        last = at.size() <= hierarchy.mount_point.size();
        core::UniqueFd parent(::open(at.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        if (parent) {
          const std::uint8_t offered = controllers_in(read_text(parent.get(), "cgroup.controllers"), ' ') & wanted;
          std::uint8_t enabled = controllers_in(read_text(parent.get(), "cgroup.subtree_control"), ' ') & wanted;
          if (offered & ~enabled) {
            const int error = write_file(parent.get(), "cgroup.subtree_control", enable_text(offered & ~enabled));
            if (error == 0) enabled = offered;
            else note(offered & ~enabled, at + "/cgroup.subtree_control", error);
          }
          if (!place.directory || enabled > best) {
            core::UniqueFd own;
            const int error = make_own(parent.get(), name, true, true, enable_text(enabled), own);
            if (error == 0) {
              if (place.directory) {  // leave nothing in the lesser place
                ::unlinkat(place.parent.get(), ("sandbox/" + name).c_str(), AT_REMOVEDIR);
                ::unlinkat(place.parent.get(), "sandbox", AT_REMOVEDIR);
              }
              place.parent = std::move(parent);
              place.directory = std::move(own);
              best = enabled;
            } else {
              note(0xff, at, error);
            }
          }
          if (place.directory && best == wanted) break;
        }
        at.erase(at.rfind('/'));
      }
      if (!place.directory) continue;
      place.controllers = best | bit(Controller::freezer) | bit(Controller::cpuacct);
    }
    found |= place.controllers;
    tree->hierarchies_.push_back(std::move(place));
  }
  tree->no_reason_ = hierarchies.empty() ? "no cgroup file system is mounted" : "no mounted cgroup hierarchy has the controller";
  return tree;
}

CgroupTree::~CgroupTree() {
  for (const Place& place : hierarchies_) {
    ::unlinkat(place.parent.get(), ("sandbox/" + name_).c_str(), AT_REMOVEDIR);
    ::unlinkat(place.parent.get(), "sandbox", AT_REMOVEDIR);  // the last launcher's, when it was
  }
}

const CgroupTree::Place* CgroupTree::place_of(Controller controller) const noexcept {
  for (const Place& place : hierarchies_)
    if (place.controllers & bit(controller)) return &place;
  return nullptr;
}

bool CgroupTree::has(Controller controller) const noexcept { return place_of(controller) != nullptr; }

const std::string& CgroupTree::reason(Controller controller) const noexcept {
  for (const auto& [controllers, why] : reasons_)
    if (controllers & bit(controller)) return why;
  return no_reason_;
}

bool CgroupTree::sweep_dead() {
  bool done = true;
  for (const Place& place : hierarchies_) {
    const core::UniqueFd sandbox(::openat(place.parent.get(), "sandbox", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (sandbox) done = sweep_all(sandbox.get()) && done;
  }
  return done;
}

Result<CgroupSet> CgroupTree::make() {
  CgroupSet set;
  set.name_ = std::to_string(++next_);
  set.tree_ = this;
  for (const Place& place : hierarchies_) {
    if (::mkdirat(place.directory.get(), set.name_.c_str(), 0755) != 0)
      return Error::from_errno(errno, kCgroup, "mkdir");  // `set` removes what there is
    if (place.v2) {
      set.v2_directory_ = core::UniqueFd(
          ::openat(place.directory.get(), set.name_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
      if (!set.v2_directory_) return Error::from_errno(errno, kCgroup, "open");
    } else {
      core::UniqueFd join(::openat(place.directory.get(), (set.name_ + "/tasks").c_str(), O_WRONLY | O_CLOEXEC));
      if (!join) return Error::from_errno(errno, kCgroup, "tasks");
      set.joins_.push_back(std::move(join));
    }
  }
  return set;
}

// ---- CgroupSet --------------------------------------------------------------------------------------------------------

CgroupSet::CgroupSet(CgroupSet&& other) noexcept
    : tree_(std::exchange(other.tree_, nullptr)),
      name_(std::move(other.name_)),
      joins_(std::move(other.joins_)),
      v2_directory_(std::move(other.v2_directory_)) {}

CgroupSet& CgroupSet::operator=(CgroupSet&& other) noexcept {
  if (this != &other) {
    if (tree_) remove().ignore("replaced; the next launcher sweeps what is busy");
    tree_ = std::exchange(other.tree_, nullptr);
    name_ = std::move(other.name_);
    joins_ = std::move(other.joins_);
    v2_directory_ = std::move(other.v2_directory_);
  }
  return *this;
}

CgroupSet::~CgroupSet() {
  if (tree_) remove().ignore("a destructor cannot wait; the next launcher sweeps what is busy");
}

std::vector<core::UniqueFd> CgroupSet::take_joins() {
  if (v2_directory_) joins_.push_back(std::move(v2_directory_));
  return std::exchange(joins_, {});
}

Result<void> CgroupSet::limit(const CgroupLimits& limits) {
  auto put = [&](const CgroupTree::Place& place, const char* file, const std::string& value) -> Result<void> {
    const int error = write_file(place.directory.get(), (name_ + "/" + file).c_str(), value);
    if (error != 0) return Error::from_errno(error, kCgroup, file);
    return {};
  };
  if (const auto* place = tree_->place_of(Controller::memory); place && limits.memory) {
    const std::string bytes = std::to_string(limits.memory);
    if (place->v2) {
      SANDBOX_CHECK(put(*place, "memory.max", bytes));
      // Without swap accounting the file is missing, and then there is no swap to limit here.
      if (auto swap = put(*place, "memory.swap.max", "0"); !swap && swap.error().sys_errno() != ENOENT) return swap;
      if (auto group = put(*place, "memory.oom.group", "0"); !group) group.error().ignore("0 is the default");
    } else {
      SANDBOX_CHECK(put(*place, "memory.limit_in_bytes", bytes));
      if (auto swap = put(*place, "memory.memsw.limit_in_bytes", bytes); !swap && swap.error().sys_errno() != ENOENT)
        return swap;
    }
  }
  if (const auto* place = tree_->place_of(Controller::cpu); place && limits.cpu_quota) {
    const std::string quota = std::to_string(limits.cpu_quota);
    if (place->v2) {
      SANDBOX_CHECK(put(*place, "cpu.max", quota + " 100000"));
    } else {
      SANDBOX_CHECK(put(*place, "cpu.cfs_quota_us", quota));  // the period is 100 ms by default
    }
  }
  if (const auto* place = tree_->place_of(Controller::pids); place && limits.pids)
    SANDBOX_CHECK(put(*place, "pids.max", std::to_string(limits.pids)));
  return {};
}

core::UniqueFd CgroupSet::open_oom_counter() const {
  const auto* place = tree_->place_of(Controller::memory);
  if (!place) return {};
  const std::string file = name_ + (place->v2 ? "/memory.events" : "/memory.oom_control");
  return core::UniqueFd(::openat(place->directory.get(), file.c_str(), O_RDONLY | O_CLOEXEC));
}

CgroupStats CgroupSet::stats() const {
  CgroupStats stats;
  auto text = [&](const CgroupTree::Place& place, const char* file) {
    return read_text(place.directory.get(), name_ + "/" + file);
  };
  if (const auto* place = tree_->place_of(Controller::memory)) {
    if (place->v2) {
      stats.memory_current = number_in(text(*place, "memory.current"));
      stats.memory_peak = number_in(text(*place, "memory.peak"));
      stats.oom_kills = keyed(text(*place, "memory.events"), "oom_kill");
    } else {
      stats.memory_current = number_in(text(*place, "memory.usage_in_bytes"));
      stats.memory_peak = number_in(text(*place, "memory.max_usage_in_bytes"));
      stats.oom_kills = keyed(text(*place, "memory.oom_control"), "oom_kill");
    }
  }
  if (const auto* place = tree_->place_of(Controller::cpuacct)) {
    stats.cpu_ns = place->v2 ? keyed(text(*place, "cpu.stat"), "usage_usec") * 1000 : number_in(text(*place, "cpuacct.usage"));
  }
  if (const auto* place = tree_->place_of(Controller::pids))
    stats.pids_current = static_cast<std::uint32_t>(number_in(text(*place, "pids.current")));
  return stats;
}

Result<void> CgroupSet::set_frozen(bool frozen) {
  const auto* place = tree_->place_of(Controller::freezer);
  if (!place) return Error(ErrorCode::failed_precondition, "this host has no freezer for us: " + tree_->reason(Controller::freezer)).with_operation(kCgroup);
  const std::string file = name_ + (place->v2 ? "/cgroup.freeze" : "/freezer.state");
  const std::string_view word = place->v2 ? (frozen ? "1" : "0") : (frozen ? "FROZEN" : "THAWED");
  if (const int error = write_file(place->directory.get(), file.c_str(), word); error != 0)
    return Error::from_errno(error, kCgroup, file);
  // Freezing is done when every task has reached a stop; the kernel raises POLLPRI on cgroup.events when that changes.
  core::UniqueFd events;
  if (place->v2)
    events = core::UniqueFd(::openat(place->directory.get(), (name_ + "/cgroup.events").c_str(), O_RDONLY | O_CLOEXEC));
  for (int waited = 0; waited < 200; ++waited) {
    if (place->v2) {
      char buffer[256];
      const ssize_t count = ::pread(events.get(), buffer, sizeof buffer, 0);
      if (count > 0 && keyed(std::string_view(buffer, static_cast<std::size_t>(count)), "frozen") == (frozen ? 1u : 0u)) return {};
      pollfd change{events.get(), POLLPRI, 0};
      ::poll(&change, 1, 1);
    } else {
      std::string state = read_text(place->directory.get(), file);
      if (state.rfind(word, 0) == 0) return {};
      ::poll(nullptr, 0, 1);
    }
  }
  return Error(ErrorCode::deadline_exceeded, frozen ? "processes did not stop within 200 ms" : "processes did not continue within 200 ms")
      .with_operation(kCgroup);
}

void CgroupSet::kill() noexcept {
  for (const auto& place : tree_->hierarchies_) {
    if (place.v2) (void)write_file(place.directory.get(), (name_ + "/cgroup.kill").c_str(), "1");
    else if (place.controllers & bit(Controller::freezer))  // a frozen v1 task dies only once thawed
      (void)write_file(place.directory.get(), (name_ + "/freezer.state").c_str(), "THAWED");
  }
}

Result<void> CgroupSet::remove() {
  if (!tree_) return {};
  take_joins();
  int failed = 0;
  for (const auto& place : tree_->hierarchies_)
    if (::unlinkat(place.directory.get(), name_.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) failed = errno;
  if (failed != 0) return Error::from_errno(failed, kCgroup, "rmdir").with_retry(Retry::after_backoff);
  tree_ = nullptr;
  return {};
}

}  // namespace sandbox::os
