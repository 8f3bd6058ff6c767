#pragma once

#include <string>
#include <vector>

namespace sbx {

/// `sbx run`, as typed.
struct RunOptions {
  std::vector<std::string> command;   ///< argv; never interpreted
  std::string line;                   ///< -c
  std::string image = "host";
  std::string network = "none";
  std::string memory, disk, timeout, max_output;  ///< empty: the default
  double cpus = 0;                    ///< 0: the default
  unsigned pids = 0;
  std::vector<std::string> env;
  std::string workdir = "/root";
  std::vector<std::string> uploads, downloads;
  std::string save_template;
  bool writable_root = false;
  bool interactive = false;
  bool terminal = false;
  bool json = false;
  bool quiet = false;
  bool allow_unenforced = false;
};

/// Exit codes that are about sbx and not about the program.
inline constexpr int kOwnFailure = 125;
inline constexpr int kNotExecutable = 126;
inline constexpr int kNotFound = 127;

int run(const RunOptions& options);
int show_host(bool json);
int list_templates(bool json);
int remove_templates(const std::vector<std::string>& ids);

}  // namespace sbx
