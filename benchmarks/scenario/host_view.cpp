#include "host_view.hpp"

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <dirent.h>
#include <fstream>
#include <sstream>
#include <sys/stat.h>
#include <unistd.h>

namespace bench {

namespace {

std::string read_file(const std::string& path) {
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

std::vector<pid_t> children(pid_t pid) {
  std::vector<pid_t> result;
  const std::string tasks = "/proc/" + std::to_string(pid) + "/task";
  DIR* directory = ::opendir(tasks.c_str());
  if (directory == nullptr) return result;
  while (const dirent* entry = ::readdir(directory)) {
    if (entry->d_name[0] == '.') continue;
    std::istringstream list(read_file(tasks + "/" + entry->d_name + "/children"));
    for (pid_t child = 0; list >> child;) result.push_back(child);
  }
  ::closedir(directory);
  return result;
}

/// Whether `pid` is process 1 of a pid namespace below ours.
bool is_first(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("NSpid:", 0) != 0) continue;
    std::istringstream numbers(line.substr(6));
    int count = 0;
    for (pid_t number = 0; numbers >> number;) {
      ++count;
      if (count > 1 && number == 1) return true;
    }
    return false;
  }
  return false;
}

void collect(pid_t pid, std::vector<pid_t>& out) {
  for (const pid_t child : children(pid)) {
    out.push_back(child);
    collect(child, out);
  }
}

std::size_t count_lines(const std::string& path) {
  const std::string text = read_file(path);
  std::size_t lines = 0;
  for (const char c : text) lines += c == '\n';
  return lines;
}

std::size_t count_entries(const std::string& path) {
  std::size_t count = 0;
  if (DIR* directory = ::opendir(path.c_str()); directory != nullptr) {
    while (::readdir(directory) != nullptr) ++count;
    ::closedir(directory);
  }
  return count;
}

double rollup(pid_t pid, const std::vector<std::string>& keys) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/smaps_rollup");
  double sum = 0;
  bool found = false;
  for (std::string line; std::getline(file, line);) {
    for (const auto& key : keys) {
      if (line.rfind(key, 0) == 0) {
        sum += std::strtod(line.c_str() + key.size(), nullptr);
        found = true;
      }
    }
  }
  return found ? sum : -1;
}

}  // namespace

std::set<pid_t> agents() {
  std::vector<pid_t> below;
  collect(::getpid(), below);
  std::set<pid_t> result;
  for (const pid_t pid : below) {
    if (is_first(pid)) result.insert(pid);
  }
  return result;
}

std::vector<pid_t> launchers() {
  std::vector<pid_t> result;
  for (const pid_t pid : children(::getpid())) {
    if (!is_first(pid)) result.push_back(pid);
  }
  return result;
}

Traces::Counts Traces::Counts::take() {
  Counts counts;
  auto processes = launchers();
  processes.push_back(::getpid());
  for (const pid_t pid : processes) {
    const std::string folder = "/proc/" + std::to_string(pid);
    counts.mounts.emplace_back(pid, count_lines(folder + "/mountinfo"));
  }
  // Not the launchers': theirs go up and down with the namespaces and cgroups they keep ready.
  counts.descriptors = count_entries("/proc/self/fd");
  return counts;
}

Traces::Traces(pid_t agent, Counts before) : before_(std::move(before)) {
  processes_.push_back(agent);
  collect(agent, processes_);
  // "4:memory:/sandbox/x": the hierarchy is mounted at the controllers' name, v2 ("0::/x") at the top or at unified.
  std::istringstream lines(read_file("/proc/" + std::to_string(agent) + "/cgroup"));
  for (std::string line; std::getline(lines, line);) {
    const auto first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1), path = line.substr(second + 1);
    if (path == "/") continue;
    std::vector<std::string> tops;
    if (controllers.empty()) tops = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};
    else tops = {"/sys/fs/cgroup/" + controllers};
    for (const auto& top : tops) {
      struct stat info{};
      if (::stat((top + path + "/cgroup.procs").c_str(), &info) == 0) cgroups_.push_back(top + path);
    }
  }
  // Our own cgroups are not the sandbox's.
  std::istringstream own(read_file("/proc/self/cgroup"));
  for (std::string line; std::getline(own, line);) {
    const auto second = line.find(':', line.find(':') + 1);
    std::erase_if(cgroups_, [&](const std::string& path) { return path.ends_with(line.substr(second + 1)); });
  }
}

std::string Traces::left() const {
  for (const pid_t pid : processes_) {
    if (::kill(pid, 0) == 0) return "process " + std::to_string(pid);
  }
  for (const auto& path : cgroups_) {
    struct stat info{};
    if (::stat(path.c_str(), &info) == 0) return "cgroup " + path;
  }
  for (const auto& [pid, count] : before_.mounts) {
    if (count_lines("/proc/" + std::to_string(pid) + "/mountinfo") > count) return "mounts of " + std::to_string(pid);
  }
  if (count_entries("/proc/self/fd") > before_.descriptors) return "descriptors of this process";
  return {};
}

double pss_kib(pid_t pid) { return rollup(pid, {"Pss:"}); }
double private_kib(pid_t pid) { return rollup(pid, {"Private_Clean:", "Private_Dirty:"}); }

double meminfo_kib(const char* key) {
  std::ifstream file("/proc/meminfo");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind(std::string(key) + ":", 0) == 0) return std::strtod(line.c_str() + std::strlen(key) + 1, nullptr);
  }
  return 0;
}

}  // namespace bench
