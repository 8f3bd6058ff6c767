#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <sandbox/sandbox.hpp>

#include "peers.hpp"
#include "report.hpp"

namespace bench {

struct Config {
  bool quick = false;
  std::vector<std::unique_ptr<Peer>> peers;

  int rounds(int full) const { return quick ? std::max(5, full / 10) : full; }
  std::chrono::seconds sustained() const { return std::chrono::seconds(quick ? 5 : 30); }
};

/// The spec everything is measured with: the default, weakened only where the host leaves no choice (rootless).
inline sandbox::SandboxSpec base_spec() {
  sandbox::SandboxSpec spec;
  if (::geteuid() != 0) spec.allow(sandbox::allow::unenforced_limits{});
  return spec;
}

/// Between two creations, as real ones arrive: back to back, one round's grace periods hide in the next.
inline void pause_between_creations() { std::this_thread::sleep_for(std::chrono::milliseconds(8)); }

/// How long `body` takes.
template <class Body>
Clock::duration timed(Body&& body) {
  const auto begin = Clock::now();
  body();
  return Clock::now() - begin;
}

inline constexpr double kMicrosecond = 1e3, kMillisecond = 1e6;

/// Measures one or several scenarios; throws where something does not work at all, Skip where the host has not got it.
using Measure = std::vector<Result> (*)(Config&);

std::vector<Result> warm_create(Config&);
std::vector<Result> cold_create_exec(Config&);
std::vector<Result> exec_true(Config&);
std::vector<Result> destroy(Config&);
std::vector<Result> destroy_clean_loaded(Config&);
std::vector<Result> adopt_500(Config&);
std::vector<Result> creates_per_s(Config&);
std::vector<Result> creates_per_s_no_net(Config&);
std::vector<Result> template_create(Config&);
std::vector<Result> file_transfer(Config&);
std::vector<Result> fs_read_4k(Config&);
std::vector<Result> sealed_transfer(Config&);
std::vector<Result> idle_memory(Config&);
std::vector<Result> binding_python_sync(Config&);
std::vector<Result> binding_asyncio(Config&);
std::vector<Result> binding_node(Config&);
std::vector<Result> binding_go(Config&);
std::vector<Result> daemon_warm_create(Config&);
std::vector<Result> daemon_exec_true(Config&);
std::vector<Result> daemon_file_transfer(Config&);
std::vector<Result> daemon_sessions_1000(Config&);
std::vector<Result> daemon_idle_ws(Config&);
std::vector<Result> daemon_create_flood(Config&);
std::vector<Result> daemon_restart_500(Config&);

}  // namespace bench
