// Every probe of tests/support/guests/probe.c, once inside a sandbox of the default spec (must be blocked) and, where
// its effect on this machine is harmless, once outside as a control (must bite: a probe that is blocked everywhere
// proves nothing).
#include <gtest/gtest.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>
#include <sstream>

#include "support/live_runtime.hpp"

namespace sandbox::testing {
namespace {

std::string probe_path() { return std::filesystem::read_symlink("/proc/self/exe").parent_path() / "guests" / "probe"; }

std::string run_outside(const std::string& arguments) {
  std::string out;
  // In namespaces of its own, so that a control that succeeds (chroot, hostname, mounts) changes nothing here.
  FILE* pipe = ::popen(("unshare --mount --uts --ipc --net --pid --fork --mount-proc " + probe_path() + " " + arguments + " 2>&1").c_str(), "re");
  if (!pipe) return "skipped no unshare";
  char buffer[512];
  for (std::size_t n; (n = ::fread(buffer, 1, sizeof buffer, pipe)) > 0;) out.append(buffer, n);
  ::pclose(pipe);
  return out;
}

std::vector<std::string> all_probes() {
  std::vector<std::string> ids;
  FILE* pipe = ::popen((probe_path() + " list").c_str(), "re");
  char line[128];
  while (pipe && ::fgets(line, sizeof line, pipe)) ids.emplace_back(line, std::strlen(line) - 1);
  if (pipe) ::pclose(pipe);
  return ids;
}

/// Probes whose control run would change or endanger this machine even in fresh namespaces, or that only make sense
/// inside; and why.
const std::map<std::string, std::string> kNoControl = {
    {"kernel.reboot", "reboot(CAD_OFF) would act on the host"},
    {"kernel.clock", "sets the host's clock"},
    {"kernel.swapon", "asks the host for swap"},
    {"kernel.kexec", "would unload a staged kernel"},
    {"kernel.init_module", "asks the host's module loader"},
    {"kernel.finit_module", "asks the host's module loader"},
    {"kernel.quotactl", "answers differ by file system"},
    {"kernel.nice", "harmless but needs no proof: root may always"},
    {"kernel.tiocsti", "needs a terminal"},
    {"kernel.tioclinux", "needs a virtual console"},
    {"kernel.vsock", "depends on kernel modules"},
    {"mount.umount_mask", "there is no mask outside"},
    {"mount.move_mount", "needs a prepared mount point"},
    {"mount.pivot_root", "needs a prepared new root"},
    {"mount.setattr", "would make this mount namespace read-only while the probe runs"},
    {"kernel.proc_keys", "needs a key"},
    {"kernel.sysrq", "CONFIG_MAGIC_SYSRQ may be off"},
    {"agent.ptrace", "process 1 of the control is the probe itself"},
    {"agent.process_vm_readv", "same"}, {"agent.pidfd_getfd", "same"}, {"agent.mem", "same"}, {"agent.exe", "same"},
    {"agent.fds", "same"}, {"agent.environ", "same"}, {"agent.root", "same"}, {"agent.kill", "same"},
    {"agent.prlimit_set", "same"}, {"agent.prlimit_get", "same"}, {"agent.is_process_1", "same"},
    {"namespace.setns", "the probe is process 1 there"},
    {"net.interfaces", "the control has an own network namespace too"},
    {"net.vsock", "depends on kernel modules"}, {"net.alg", "depends on kernel modules"},
    {"kernel.host_devices", "depends on the machine"},
    {"kernel.dev_mem", "depends on kernel configuration"}, {"kernel.kcore", "depends on kernel configuration"},
    {"kernel.dev_kmsg", "depends on the machine's /dev"}, {"kernel.sysfs", "depends on kernel configuration"},
    {"kernel.cgroupfs", "depends on the hierarchy"}, {"kernel.rlimit", "root lacks CAP_SYS_RESOURCE on the reference machine"},
    {"kernel.kallsyms", "kptr_restrict may hide addresses from root too"},
    {"kernel.perf", "hardware events may be absent"}, {"kernel.iopl", "root may lack CAP_SYS_RAWIO"},
    {"kernel.userfaultfd", "user-mode-only flag may be required"},
    {"kernel.keyctl", "session keyring may be absent"},
    {"entry.int80", "CONFIG_IA32_EMULATION may be off"}, {"entry.x32", "CONFIG_X86_X32_ABI may be off"},
    {"file.exec_from_tmp", "depends on the machine's /tmp"}, {"file.host_home", "depends on the machine"},
    {"file.mountinfo", "depends on the machine's mounts"}, {"file.leaked_fds", "popen closes them"},
    {"file.open_by_handle", "depends on the file system"}, {"kernel.realtime", "real-time bandwidth of the cgroup may be zero"},
    {"identity.setuid_binary", "depends on what is installed"},
};

class Isolation : public LiveTest, public ::testing::WithParamInterface<std::string> {
 public:
  static void SetUpTestSuite() { LiveTest::SetUpTestSuite(); }
};

std::string run_inside(const std::string& arguments) {
  Sandbox box = LiveTest::make();
  std::ifstream file(probe_path(), std::ios::binary);
  std::stringstream content;
  content << file.rdbuf();
  WriteOptions executable;
  executable.mode = 0755;
  box.fs().write("/root/probe", content.str(), executable).value();
  const ExecResult result = box.process().exec(Command("/root/probe " + arguments).timeout(std::chrono::seconds(10))).value();
  if (result.cause == ExitCause::signalled || result.cause == ExitCause::limit_hit) {
    return "blocked the kernel ended the probe with signal " + std::to_string(result.signal);
  }
  return std::string(result.stdout_text()) + std::string(result.stderr_text());
}

TEST_P(Isolation, IsBlockedInside) {
  const std::string verdict = run_inside(GetParam());
  EXPECT_TRUE(verdict.starts_with("blocked")) << verdict;
}

TEST_P(Isolation, BitesOutside) {
  if (const auto it = kNoControl.find(GetParam()); it != kNoControl.end()) {
    SUCCEED() << "no control run: " << it->second;
    return;
  }
  if (::geteuid() != 0) GTEST_SKIP() << "controls need root";
  const std::string verdict = run_outside(GetParam());
  EXPECT_TRUE(verdict.starts_with("open") || verdict.starts_with("skipped")) << verdict;
}

INSTANTIATE_TEST_SUITE_P(Probes, Isolation, ::testing::ValuesIn(all_probes()), [](const auto& param) {
  std::string id = param.param;
  for (char& c : id)
    if (c == '.') c = '_';
  return id;
});

class Ipc : public LiveTest {};

TEST_F(Ipc, AbstractSocketsOfTheHostAreOutOfReach) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string socket_name = "sandbox-test-" + std::to_string(::getpid());
  std::memcpy(address.sun_path + 1, socket_name.data(), socket_name.size());
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + socket_name.size());
  ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(::listen(fd, 4), 0);
  EXPECT_TRUE(run_inside("ipc.abstract_socket " + socket_name).starts_with("blocked"));
  std::string control;
  FILE* pipe = ::popen((probe_path() + " ipc.abstract_socket " + socket_name).c_str(), "re");
  char line[128];
  while (::fgets(line, sizeof line, pipe)) control += line;
  ::pclose(pipe);
  EXPECT_TRUE(control.starts_with("open")) << control;
  ::close(fd);
}

TEST_F(Ipc, SysVSegmentsOfTheHostAreOutOfReach) {
  const int id = ::shmget(IPC_PRIVATE, 4096, 0666);
  ASSERT_GE(id, 0);
  EXPECT_TRUE(run_inside("ipc.sysv_shm " + std::to_string(id)).starts_with("blocked"));
  void* attached = ::shmat(id, nullptr, SHM_RDONLY);
  EXPECT_NE(attached, reinterpret_cast<void*>(-1));
  ::shmdt(attached);
  ::shmctl(id, IPC_RMID, nullptr);
}

}  // namespace
}  // namespace sandbox::testing
