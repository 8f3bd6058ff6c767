// `sbx prove` for real: everything holds here, and each attempt is shown to work where there is no sandbox.
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <set>
#include <string>

#include "one_run.hpp"

namespace sandbox::testing {
namespace {

TEST(Prove, EveryCheckOfTheQuickSetIsReportedOnceAndInOrder) {
  std::vector<std::string> ids;
  for (const CheckResult& check : quick_report().checks) ids.push_back(check.id);
  EXPECT_EQ(ids, check_ids(false));
  EXPECT_GE(ids.size(), 50u);
  EXPECT_EQ(std::set<std::string>(ids.begin(), ids.end()).size(), ids.size());
}

TEST(Prove, NothingFailsHere) {
  for (const CheckResult& check : quick_report().checks) EXPECT_NE(check.status, CheckStatus::failed) << check.id << ": " << check.seen;
  EXPECT_TRUE(quick_report().passed());
  EXPECT_EQ(quick_report().set, "quick");
}

TEST(Prove, OnlyWhatNeedsRootIsSkippedAndSaysSo) {
  // What a host without root cannot check: the laboratory network, and limits and pauses without delegated control groups.
  const std::set<std::string> rootless = {
      "net.metadata",        "net.host",         "net.private",   "net.mapped",           "net.neighbours", "net.public",
      "resources.processes", "resources.memory", "resources.cpu", "files.overlay_forging"};
  for (const CheckResult& check : quick_report().checks) {
    if (check.status != CheckStatus::skipped) continue;
    EXPECT_TRUE(::geteuid() != 0 && rootless.contains(check.id)) << check.id << ": " << check.seen;
    EXPECT_NE(check.seen, "") << check.id;
  }
}

TEST(Prove, EveryCheckSaysWhatWasTriedExpectedAndSeen) {
  for (const CheckResult& check : quick_report().checks) {
    EXPECT_NE(check.tried, "") << check.id;
    EXPECT_NE(check.expected, "") << check.id;
    EXPECT_NE(check.seen, "") << check.id;
    for (const CheckAttempt& attempt : check.attempts) {
      EXPECT_TRUE(attempt.control == "bites" || attempt.control == "host_forbids" || attempt.control == "not_run")
          << check.id << " " << attempt.control;
      EXPECT_NE(attempt.control_detail, "") << check.id << " " << attempt.id;
    }
  }
}

/// An attempt that works nowhere proves nothing. These do not work on every machine even without a sandbox; each says why.
TEST(Prove, ControlsBite) {
  if (::geteuid() != 0) GTEST_SKIP() << "controls without root are refused by the host for many reasons";
  const std::map<std::string, std::string> may_not = {
      {"capset", "outside, capabilities are what they are"},
      {"int80", "CONFIG_IA32_EMULATION may be off"},
      {"int80_unshare", "CONFIG_IA32_EMULATION may be off"},
      {"x32", "CONFIG_X86_X32_ABI may be off"},
      {"init_module", "a kernel without modules"},
      {"finit_module", "a kernel without modules"},
      {"delete_module", "a kernel without modules"},
      {"kexec", "CONFIG_KEXEC may be off"},
      {"modules", "a kernel without modules"},
      {"core_memory", "CONFIG_DEVMEM and CONFIG_PROC_KCORE may be off"},
      {"sysrq", "CONFIG_MAGIC_SYSRQ may be off"},
      {"sysfs", "depends on configuration"},
      {"cgroupfs", "depends on the hierarchy"},
      {"kernel_log", "CONFIG_PRINTK may be off"},
      {"dev_kmsg", "depends on /dev"},
      {"kallsyms", "kptr_restrict"},
      {"perf", "depends on configuration"},
      {"userfaultfd", "depends on configuration"},
      {"io_uring", "may be off by sysctl"},
      {"iopl", "CAP_SYS_RAWIO may be missing"},
      {"clock", "CAP_SYS_TIME may be missing"},
      {"adjtimex", "CAP_SYS_TIME may be missing"},
      {"reboot", "CAP_SYS_BOOT may be missing"},
      {"rlimit", "CAP_SYS_RESOURCE may be missing"},
      {"memory_locked", "RLIMIT_MEMLOCK"},
      {"message_queues", "RLIMIT_MSGQUEUE holds outside too"},
      {"memory_tmpfs", "RLIMIT_FSIZE"},
      {"alg_socket", "may be a module"},
      {"vsock_socket", "may be a module"},
      {"other_families", "may be modules"},
      {"agent_take_descriptor", "kernel before 5.6"},
      {"agent_compare", "CONFIG_KCMP may be off"},
      {"proc_keys", "CONFIG_KEYS may be off"},
      {"tiocsti", "would type into our terminal"},
      {"tioclinux", "would act on our console"},
      {"host_secrets", "depends on what is installed"},
      {"setuid_file", "depends on what is installed"},
      {"quotactl", "CONFIG_QUOTA may be off"},
      {"acct", "CONFIG_BSD_PROCESS_ACCT may be off"},
      {"swapon", "CONFIG_SWAP may be off"},
      {"realtime", "CAP_SYS_NICE may be missing"},
      {"realtime_io", "CAP_SYS_NICE may be missing"},
      {"nice", "CAP_SYS_NICE may be missing"},
      {"cpu", "on a machine that is busy without it"},
      {"masked", "depends on configuration"},
      {"devices", "depends on /dev"},
  };
  std::size_t bites = 0, attempts = 0;
  for (const CheckResult& check : quick_report().checks) {
    for (const CheckAttempt& attempt : check.attempts) {
      ++attempts;
      if (attempt.control == "bites")
        ++bites;
      else
        EXPECT_TRUE(may_not.contains(attempt.id)) << check.id << ", " << attempt.id << ": " << attempt.control_detail;
    }
  }
  EXPECT_GE(attempts, 130u);
  EXPECT_GE(bites, attempts * 3 / 4);
}

TEST(Prove, FailsWhereThereIsNoSandbox) {
  const ProveReport report = prove_isolation(ProveOptions().without_sandbox()).value();
  EXPECT_FALSE(report.passed());
  EXPECT_EQ(report.set, "control");
  // Of the checks that are made of attempts, all but what this machine forbids by itself and the one that must work.
  std::size_t failed = 0;
  for (const CheckResult& check : report.checks) {
    if (check.status == CheckStatus::failed) ++failed;
    if (::geteuid() == 0 && check.status == CheckStatus::passed) {
      EXPECT_TRUE(check.id == "net.public" || check.id == "kernel.modules" || check.id == "kernel.foreign_entry")
          << check.id << ": " << check.seen;
    }
  }
  if (::geteuid() == 0) {
    EXPECT_GE(failed, 45u);
  }
  for (const char* id : {"identity.capabilities", "identity.user_namespaces", "kernel.mount", "agent.memory", "files.cwd", "ipc.abstract"})
    EXPECT_EQ(find(report, id).status, CheckStatus::failed) << id;
}

TEST(Prove, OnlySomeChecks) {
  std::vector<std::string> told;
  const ProveReport report = prove_isolation(ProveOptions().only({"ipc.", "identity.seccomp"}).on_check([&](const CheckResult& check) {
                               told.push_back(check.id);
                             })).value();
  EXPECT_EQ(told, (std::vector<std::string>{"identity.seccomp", "ipc.abstract", "ipc.sysv", "ipc.shared_directories", "ipc.terminal"}));
  EXPECT_EQ(report.set, "partial");
  EXPECT_TRUE(report.passed());
}

TEST(Prove, TheThreatModelListsTheSameChecks) {
  std::ifstream document(std::string(std::getenv("SANDBOX_SOURCE_DIR")) + "/docs/THREAT_MODEL.md");
  std::vector<std::string> listed;
  for (std::string line; std::getline(document, line);)
    if (line.starts_with("| `") && line.find('.') < line.find('`', 3)) listed.push_back(line.substr(3, line.find('`', 3) - 3));
  EXPECT_EQ(listed, check_ids());
}

TEST(Prove, UnknownBackendsAreNotProven) {
  const auto report = prove_isolation(ProveOptions().backend("docker"));
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code(), ErrorCode::unsupported);
}

}  // namespace
}  // namespace sandbox::testing
