#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <sandbox/result.hpp>

#include "backend/backend.hpp"

/// Sandboxes from this host's kernel: namespaces, cgroups, seccomp, Landlock. The work is done by sandbox-launcher
/// processes; this side compiles specs into plans, talks to the launchers and checks what came out.
namespace sandbox::native {

struct NativeOptions {
  /// Directory of sandbox-launcher and sandbox-agent. Empty: see helper_directory().
  std::string helper_directory;
  /// Launcher processes; 0: one per two cores, at least 2, at most 8.
  std::uint32_t launchers = 0;
  /// Network::bridge: IPv4 network for sandboxes, host byte order; prefix 0: free ones are chosen. Each launcher takes a
  /// /16 of it, so several launchers need one wider than that.
  std::uint32_t bridge_address = 0;
  std::uint8_t bridge_prefix = 0;
  /// Network::bridge: name servers for sandboxes, at most three public IPv4 addresses; empty: two public services.
  std::vector<std::string> bridge_resolvers;
  /// Where id ranges are locked against other launchers; empty: /run/sandbox. The same for all on one host.
  std::string lock_directory;
  /// Not empty: committed sandboxes outlive this process. An absolute directory for locks and the launchers' sockets, made
  /// 0700; one process at a time works with it.
  std::string run_directory;
  /// How long they live without a process that cares.
  std::chrono::milliseconds orphan_time = std::chrono::minutes(10);
  /// For one benchmark, which compares with containers that have none: sandboxes stay in the host's network. Nothing
  /// public leads here.
  bool benchmark_without_network_namespace = false;
};

/// Where the helper programs are: `configured`, else $SANDBOX_BIN_DIR, else beside this program, or beside what this code is in
/// (libsandbox.so in some other program), or in the bin or libexec/sandbox directory next to that, or where installing puts them.
std::string helper_directory(const std::string& configured);

/// Starts nothing yet: launchers start with the first probe() or prepare(). Thread-safe. The result must be closed (or
/// destroyed) after its instances.
std::unique_ptr<backend::Backend> make_backend(NativeOptions options = {});

}  // namespace sandbox::native
