#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <sandbox/command.hpp>
#include <sandbox/result.hpp>
#include <sandbox/service.hpp>
#include <sandbox/spec.hpp>

#include "command.hpp"
#include "parse.hpp"

namespace sbx {

inline constexpr std::uint64_t kDefaultPids = ~std::uint64_t{0};

/// `sbx run`, as typed.
struct RunOptions {
  std::vector<std::string> command;   ///< argv; never interpreted
  std::string line;                   ///< -c
  std::string image, profile, network, workdir;   ///< empty: the default
  std::string memory, disk, timeout, max_output;
  double cpus = 0;
  std::uint64_t pids = kDefaultPids;
  std::vector<std::string> env;
  std::vector<std::string> uploads, downloads;
  std::string save_template;
  bool writable_root = false;
  bool interactive = false;
  bool terminal = false;
  bool allow_unenforced = false;
};

/// The same, checked.
struct RunPlan {
  sandbox::SandboxSpec spec;        ///< in this process
  sandbox::CreateRequest request;   ///< of a daemon: `spec`, or one of its profiles
  sandbox::Command command{""};
  std::vector<Transfer> uploads, downloads;
  bool forward_stdin = false;
  bool names_host_path = false;     ///< the image is a directory or an archive of this host
};

/// Errors: invalid_argument, failed_precondition (-t without a terminal).
sandbox::Result<RunPlan> make_run_plan(const RunOptions& options, const Common& common);

}  // namespace sbx
