#include "os/cgroup.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <string>
#include <thread>
#include <vector>

namespace {

using sandbox::os::CgroupTree;
using sandbox::os::Controller;
using sandbox::os::parse_cgroups;

TEST(CgroupLayout, V1WithControllersApartAndAnEmptyV2Beside) {
  const auto found = parse_cgroups(
      "9:name=systemd:/\n8:pids:/\n6:freezer:/\n4:memory:/own/deep\n2:cpuacct:/\n1:cpu:/\n0::/\n",
      "30 20 0:25 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n"
      "31 20 0:26 / /sys/fs/cgroup/memory rw,relatime shared:3 - cgroup cgroup rw,memory\n"
      "32 20 0:27 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids\n"
      "33 20 0:28 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd\n"
      "34 20 0:29 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
      "35 20 8:1 / / rw - ext4 /dev/sda rw\n");
  ASSERT_EQ(found.size(), 4u);
  EXPECT_TRUE(found[0].has(Controller::cpu));
  EXPECT_EQ(found[1].directory, "/sys/fs/cgroup/memory/own/deep");
  EXPECT_EQ(found[1].mount_point, "/sys/fs/cgroup/memory");
  EXPECT_TRUE(found[2].has(Controller::pids));
  EXPECT_TRUE(found[3].v2);
  EXPECT_EQ(found[3].controllers, 0);
  EXPECT_EQ(found[3].directory, "/sys/fs/cgroup/unified");
}

TEST(CgroupLayout, V1WithControllersTogether) {
  const auto found = parse_cgroups("3:cpu,cpuacct:/a\n2:memory:/a\n", "1 2 0:1 / /c/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
                                                                      "3 2 0:2 / /c/mem rw - cgroup cgroup rw,memory\n");
  ASSERT_EQ(found.size(), 2u);
  EXPECT_TRUE(found[0].has(Controller::cpu));
  EXPECT_TRUE(found[0].has(Controller::cpuacct));
  EXPECT_EQ(found[0].directory, "/c/cpu/a");
}

TEST(CgroupLayout, V2Only) {
  const auto found = parse_cgroups("0::/user.slice/session-1.scope\n", "24 1 0:21 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n");
  ASSERT_EQ(found.size(), 1u);
  EXPECT_TRUE(found[0].v2);
  EXPECT_EQ(found[0].directory, "/sys/fs/cgroup/user.slice/session-1.scope");
}

TEST(CgroupLayout, AMountThatShowsAPartOfTheHierarchy) {
  const auto found = parse_cgroups("2:memory:/docker/abc/x\n", "1 2 0:1 /docker/abc /c/mem ro - cgroup cgroup rw,memory\n");
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].directory, "/c/mem/x");
}

TEST(CgroupLayout, OutsideTheNamespacesRootFallsBackToTheMount) {
  const auto found = parse_cgroups("0::/../../elsewhere\n", "24 1 0:21 / /c rw - cgroup2 cgroup2 rw\n");
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].directory, "/c");
}

TEST(CgroupLayout, EscapedMountPointsAndRepeatedMounts) {
  const auto found = parse_cgroups("2:memory:/\n", "1 2 0:1 / /a\\040b rw - cgroup cgroup rw,memory\n1 2 0:1 / /again rw - cgroup cgroup rw,memory\n");
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].mount_point, "/a b");
}

TEST(CgroupLayout, GarbageYieldsNothing) {
  EXPECT_TRUE(parse_cgroups("", "").empty());
  EXPECT_TRUE(parse_cgroups(":::::\n\n", " - \n - cgroup\nx\n\\").empty());
}

/// On the host's own cgroups. Launchers that start look at each other's directories, to sweep those of dead ones.
TEST(CgroupTree, ManyThatOpenAtOnceDoNotLoseTheirLimits) {
  const std::string own = "unit-" + std::to_string(::getpid());
  std::vector<Controller> possible;
  {
    const auto tree = CgroupTree::open(own);
    for (const Controller controller : {Controller::memory, Controller::cpu, Controller::pids})
      if (tree->has(controller)) possible.push_back(controller);
  }
  if (possible.empty()) GTEST_SKIP() << "needs root and cgroups";
  std::vector<std::thread> threads;
  for (int number = 0; number < 8; ++number) {
    threads.emplace_back([&, name = own + "-" + std::to_string(number)] {
      for (int round = 0; round < 25; ++round) {
        const auto tree = CgroupTree::open(name);
        for (const Controller controller : possible) EXPECT_TRUE(tree->has(controller)) << tree->reason(controller);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
