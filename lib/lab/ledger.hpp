#pragma once

#include <chrono>
#include <map>
#include <set>
#include <string>

/// What this process and its children hold of the host, so that a test can say "and nothing is left".
namespace sandbox::lab {

struct Ledger {
  std::set<std::string> descriptors;  ///< "N -> target" of this process; anonymous inodes by kind only
  std::set<std::string> mounts;       ///< mount points in this process's mount namespace
  std::set<std::string> cgroups;      ///< directories named by the runtime, on every hierarchy
  std::set<std::string> processes;    ///< "pid name" of all descendants
  std::set<std::string> links;        ///< network interfaces in this network namespace
  std::set<std::string> files;        ///< below the directories given to take()
  std::size_t network_namespaces = 0; ///< distinct ones among our descendants and our own descriptors

  static Ledger take(const std::set<std::string>& directories = {});
  bool operator==(const Ledger&) const = default;
};

/// Empty when equal, otherwise one line per difference ("+ cgroup /sys/…", "- fd 7 -> socket").
std::string difference(const Ledger& before, const Ledger& after);

/// Takes ledgers until one equals `before` or `limit` has passed. Returns the last difference; `took` says how long.
std::string settle(const Ledger& before, std::chrono::milliseconds limit, std::chrono::microseconds* took = nullptr,
                   const std::set<std::string>& directories = {});

/// All descendants of `root` now.
std::map<int, std::string> descendants(int root);

}  // namespace sandbox::lab
