#include "backends/native/verify.hpp"

#include <unistd.h>

#include <algorithm>
#include <string_view>

namespace sandbox::native {
namespace {

Error open_lock(const std::string& what) {
  return Error(ErrorCode::failed_precondition, "seen from inside, " + what).with_operation("native.verify");
}

bool has_option(std::string_view options, std::string_view wanted) {
  while (!options.empty()) {
    const std::size_t comma = options.find(',');
    if (options.substr(0, comma) == wanted) return true;
    options = comma == options.npos ? std::string_view() : options.substr(comma + 1);
  }
  return false;
}

}  // namespace

Expectation::Expectation(const launch::LaunchPlan& plan, const launch::Prepared& prepared) : Expectation() {
  unenforced = prepared.unenforced;
  mounts = prepared.mounts;
  writable_root = plan.writable_root;
  bridge = plan.network == launch::NetworkMode::bridge;
  memory = plan.memory;
  holds_layers = !plan.pinned.empty();
}

Expectation::Expectation() {
  for (const char* name : {"cgroup", "ipc", "mnt", "net", "pid", "user", "uts"}) {
    char target[64];
    const ssize_t size = ::readlink((std::string("/proc/self/ns/") + name).c_str(), target, sizeof target);
    if (size > 0) namespaces.push_back({name, std::string(target, static_cast<std::size_t>(size))});
  }
}

Result<void> Expectation::verify(const protocol::Facts& facts) const {
  if (facts.cap_effective | facts.cap_permitted | facts.cap_inheritable | facts.cap_bounding | facts.cap_ambient)
    return open_lock("a capability set is not empty");
  if (facts.seccomp_mode != 2) return open_lock("there is no system call filter");
  if (!facts.no_new_privs) return open_lock("no_new_privs is off");
  if (facts.dumpable) return open_lock("the agent's memory can be dumped");
  if (facts.pid != 1) return open_lock("the agent is not process 1");
  if (facts.uid != 0 || facts.gid != 0) return open_lock("the agent is not uid 0 of its user namespace");
  if (!facts.open_doors.empty()) return open_lock("this works and must not: " + facts.open_doors.front());

  for (const protocol::KeyValue& ours : namespaces) {
    const auto inside = std::find_if(facts.namespaces.begin(), facts.namespaces.end(), [&](const auto& theirs) { return theirs.key == ours.key; });
    if (inside == facts.namespaces.end()) return open_lock("the " + ours.key + " namespace is unknown");
    if (benchmark_without_network_namespace && ours.key == "net") continue;
    if (inside->value == ours.value) return open_lock("the " + ours.key + " namespace is the host's");
  }
  for (const std::string& name : facts.interfaces)
    if (name != "lo" && !(bridge && name == "eth0") && !benchmark_without_network_namespace) return open_lock("there is a network interface " + name);

  std::vector<std::string> seen;
  for (const protocol::KeyValue& mount : facts.mounts) {
    seen.push_back(mount.key);
    const std::string_view text(mount.value);
    const std::string_view options = text.substr(text.find(' ') + 1);
    const bool writable = mount.key == "/root" || mount.key == "/tmp" || mount.key == "/dev/shm" || mount.key == "/dev/pts" ||
                          (writable_root && mount.key != "/proc" && mount.key != "/dev" && !mount.key.starts_with("/proc/"));
    if (!writable && !has_option(options, "ro")) return open_lock(mount.key + " is writable");
    if (!has_option(options, "nosuid")) return open_lock(mount.key + " lacks nosuid");
    const bool devices = mount.key == "/dev" || mount.key == "/dev/pts" || mount.key.starts_with("/dev/") || mount.key == "/";
    if (!devices && !has_option(options, "nodev")) return open_lock(mount.key + " lacks nodev");
    if ((mount.key == "/tmp" || mount.key == "/dev/shm" || mount.key == "/proc") && !has_option(options, "noexec"))
      return open_lock(mount.key + " lacks noexec");
  }
  std::sort(seen.begin(), seen.end());
  for (const std::string& wanted : mounts)
    if (!std::binary_search(seen.begin(), seen.end(), wanted)) return open_lock(wanted + " is not mounted");
  for (const std::string& there : seen)
    if (!std::binary_search(mounts.begin(), mounts.end(), there) && !(there.starts_with("/dev/") && std::count(there.begin(), there.end(), '/') == 2) &&
        !there.starts_with("/usr/"))
      return open_lock(there + " is mounted and should not be");
  return {};
}

}  // namespace sandbox::native
