#pragma once

#include <memory>
#include <string>
#include <vector>

#include <sandbox/result.hpp>

namespace bench {

/// Another program that runs `true` in a sandbox of its own, where it is installed.
class Peer {
 public:
  virtual ~Peer() = default;
  virtual std::string name() const = 0;
  /// One whole life: create, run /usr/bin/true, destroy.
  virtual sandbox::Result<void> run_true() = 0;
};

/// bubblewrap with --unshare-all, and runc with a bundle over the host's /usr; only those that are installed and work here.
std::vector<std::unique_ptr<Peer>> installed_peers();

}  // namespace bench
