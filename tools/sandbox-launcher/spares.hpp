#pragma once

#include <cstdint>
#include <deque>

#include <sandbox/result.hpp>

#include "core/unique_fd.hpp"
#include "os/cgroup.hpp"

namespace sandbox::launcher {

/// What every sandbox has and what takes longest to make: network namespaces and sets of cgroups, some of them made ahead.
class Spares {
 public:
  /// From now on so many are wanted. Borrows `cgroups` until clear().
  void keep(os::CgroupTree& cgroups, std::uint32_t sets, std::uint32_t networks);
  bool wanting() const;
  /// At most one, so that a request never waits for more. What cannot be made is not tried ahead again: whoever takes one
  /// meets the failure and reports it.
  void make_one();

  /// One that was made ahead, or a new one. Errors: those of making it.
  Result<os::CgroupSet> take_cgroups();
  Result<core::UniqueFd> take_network();

  void clear();

 private:
  os::CgroupTree* tree_ = nullptr;
  std::uint32_t wanted_sets_ = 0, wanted_networks_ = 0;
  std::deque<os::CgroupSet> sets_;
  std::deque<core::UniqueFd> networks_;
};

}  // namespace sandbox::launcher
