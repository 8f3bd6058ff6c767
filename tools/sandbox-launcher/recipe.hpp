#pragma once

#include <memory>
#include <string>
#include <vector>

#include <sandbox/result.hpp>

#include "base.hpp"
#include "child.hpp"
#include "launch/plan.hpp"
#include "os/cgroup.hpp"

/// A LaunchPlan made ready: trees mounted, every string and array the child will need laid out in memory that stays.
namespace sandbox::launcher {

class Recipe {
 public:
  static Result<std::shared_ptr<Recipe>> make(launch::LaunchPlan plan, Base& base, const os::CgroupTree& cgroups,
                                              std::shared_ptr<MountedTree> tree, int landlock_abi, bool door);
  Recipe(const Recipe&) = delete;

  const launch::LaunchPlan& plan() const noexcept { return plan_; }
  const MountedTree& tree() const noexcept { return *tree_; }
  const MountedTree* scratch() const noexcept { return scratch_.get(); }
  /// The recipe's part of a child's plan.
  const ChildPlan& child() const noexcept { return child_; }
  os::CgroupLimits cgroup_limits() const noexcept { return {plan_.memory, plan_.cpu_quota, plan_.pids}; }
  const launch::Prepared& prepared() const noexcept { return prepared_; }

 private:
  Recipe() = default;
  const char* keep(std::string text);
  launch::LaunchPlan plan_;
  std::shared_ptr<MountedTree> tree_;
  std::unique_ptr<MountedTree> scratch_;
  ChildPlan child_{};
  launch::Prepared prepared_;
  std::vector<std::unique_ptr<std::string>> texts_;
  std::vector<char*> argv_, environment_;
  std::vector<Limit> limits_;
  std::vector<const char*> masks_, lower_targets_;
  std::unique_ptr<bool[]> mask_is_directory_;
  std::vector<NewDirectory> directories_;
  std::vector<WritablePlace> places_;
  std::vector<AttachedTree> attached_;
};

}  // namespace sandbox::launcher
