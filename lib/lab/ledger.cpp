#include "lab/ledger.hpp"

#include <dirent.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>
#include <vector>

namespace sandbox::lab {

namespace fs = std::filesystem;

namespace {

std::string read_file(const fs::path& path) {
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

std::string link_target(const fs::path& path) {
  std::error_code error;
  return fs::read_symlink(path, error).string();
}

/// parent -> children, with names, from one pass over /proc.
struct ProcessTable {
  std::multimap<int, int> children;
  std::map<int, std::string> names;

  ProcessTable() {
    std::error_code error;
    for (const auto& entry : fs::directory_iterator("/proc", error)) {
      const std::string name = entry.path().filename();
      if (name.empty() || !std::isdigit(static_cast<unsigned char>(name[0]))) continue;
      const std::string stat = read_file(entry.path() / "stat");
      const auto open = stat.find('('), close = stat.rfind(')');
      if (open == std::string::npos || close == std::string::npos) continue;
      int parent = 0;
      char state = 0;
      std::istringstream(stat.substr(close + 1)) >> state >> parent;
      const int pid = std::stoi(name);
      children.emplace(parent, pid);
      names[pid] = stat.substr(open + 1, close - open - 1) + (state == 'Z' ? " (zombie)" : "");
    }
  }
};

void collect(const ProcessTable& table, int root, std::map<int, std::string>& out) {
  const auto [first, last] = table.children.equal_range(root);
  for (auto it = first; it != last; ++it) {
    out[it->second] = table.names.at(it->second);
    collect(table, it->second, out);
  }
}

void compare(std::string& out, const char* what, const std::set<std::string>& before, const std::set<std::string>& after) {
  std::vector<std::string> only;
  std::set_difference(after.begin(), after.end(), before.begin(), before.end(), std::back_inserter(only));
  for (const auto& line : only) out += std::string("+ ") + what + " " + line + "\n";
  only.clear();
  std::set_difference(before.begin(), before.end(), after.begin(), after.end(), std::back_inserter(only));
  for (const auto& line : only) out += std::string("- ") + what + " " + line + "\n";
}

}  // namespace

std::map<int, std::string> descendants(int root) {
  std::map<int, std::string> out;
  collect(ProcessTable(), root, out);
  return out;
}

Ledger Ledger::take(const std::set<std::string>& directories) {
  Ledger ledger;
  std::set<std::string> namespaces;
  std::error_code error;

  for (const auto& entry : fs::directory_iterator("/proc/self/fd", error)) {
    std::string target = link_target(entry.path());
    if (target.empty() || target.starts_with("/proc/")) continue;  // the iterator's own
    if (target.starts_with("net:[")) namespaces.insert(target);
    if (const auto bracket = target.find(":["); bracket != std::string::npos) target.resize(bracket);
    ledger.descriptors.insert(entry.path().filename().string() + " -> " + target);
  }

  std::istringstream mounts(read_file("/proc/self/mountinfo"));
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream words(line);
    std::string id, parent, device, root, point;
    words >> id >> parent >> device >> root >> point;
    ledger.mounts.insert(point);
  }

  // The runtime puts its cgroups below sandbox/<launcher's pid>-<when> on each hierarchy. Those of a launcher that is
  // alive and not ours belong to somebody else's runtime on this machine.
  const std::map<int, std::string> family = descendants(::getpid());
  const auto is_foreign = [&](const fs::path& path, const fs::path& top) {
    const std::string owner = path.lexically_relative(top).begin()->string();
    const int pid = std::atoi(owner.c_str());
    return pid > 0 && !family.contains(pid) && fs::exists("/proc/" + std::to_string(pid));
  };
  for (const auto& hierarchy : fs::directory_iterator("/sys/fs/cgroup", error)) {
    std::error_code inner;
    for (const fs::path& top : {hierarchy.path() / "sandbox", fs::path("/sys/fs/cgroup/sandbox")}) {
      if (!fs::is_directory(top, inner)) continue;
      for (auto it = fs::recursive_directory_iterator(top, fs::directory_options::skip_permission_denied, inner);
           it != fs::recursive_directory_iterator(); it.increment(inner)) {
        if (inner) break;
        if (it->is_directory(inner) && !is_foreign(it->path(), top)) ledger.cgroups.insert(it->path());
      }
    }
  }

  for (const auto& [pid, name] : family) {
    ledger.processes.insert(std::to_string(pid) + " " + name);
    if (const std::string net = link_target("/proc/" + std::to_string(pid) + "/ns/net"); !net.empty()) namespaces.insert(net);
  }

  for (const auto& link : fs::directory_iterator("/sys/class/net", error)) ledger.links.insert(link.path().filename());
  for (const auto& directory : directories) {
    for (auto it = fs::recursive_directory_iterator(directory, fs::directory_options::skip_permission_denied, error);
         it != fs::recursive_directory_iterator(); it.increment(error)) {
      if (error) break;
      ledger.files.insert(it->path());
    }
  }
  namespaces.insert(link_target("/proc/self/ns/net"));
  ledger.network_namespaces = namespaces.size();
  return ledger;
}

std::string difference(const Ledger& before, const Ledger& after) {
  std::string out;
  compare(out, "fd", before.descriptors, after.descriptors);
  compare(out, "mount", before.mounts, after.mounts);
  // Fewer than before is a launcher that swept what an earlier, killed one had left.
  std::set<std::string> swept = before.cgroups;
  std::erase_if(swept, [&](const std::string& path) { return !after.cgroups.contains(path); });
  compare(out, "cgroup", swept, after.cgroups);
  compare(out, "process", before.processes, after.processes);
  compare(out, "link", before.links, after.links);
  compare(out, "file", before.files, after.files);
  if (before.network_namespaces != after.network_namespaces) {
    out += "network namespaces: " + std::to_string(before.network_namespaces) + " -> " +
           std::to_string(after.network_namespaces) + "\n";
  }
  return out;
}

std::string settle(const Ledger& before, std::chrono::milliseconds limit, std::chrono::microseconds* took,
                   const std::set<std::string>& directories) {
  const auto start = std::chrono::steady_clock::now();
  std::string left;
  do {
    left = difference(before, Ledger::take(directories));
    if (left.empty()) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));  // polling interval of the ledger, not a wait for a race
  } while (std::chrono::steady_clock::now() - start < limit);
  if (took) {
    *took = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - start);
  }
  return left;
}

}  // namespace sandbox::lab
