#include "os/seccomp.hpp"

#include <gtest/gtest.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstring>
#include <initializer_list>
#include <vector>

namespace {

using namespace sandbox;

#if defined(__x86_64__)
constexpr std::uint32_t kArch = AUDIT_ARCH_X86_64;
#else
constexpr std::uint32_t kArch = AUDIT_ARCH_AARCH64;
#endif

/// The part of classic BPF that seccomp(2) permits, evaluated over `data`.
std::uint32_t evaluate(const std::vector<sock_filter>& program, const seccomp_data& data) {
  std::uint32_t accumulator = 0, index = 0, memory[16] = {};
  for (std::size_t at = 0; at < program.size(); ++at) {
    const sock_filter& step = program[at];
    const std::uint32_t operand = BPF_SRC(step.code) == BPF_X ? index : step.k;
    switch (BPF_CLASS(step.code)) {
      case BPF_LD:
        if (BPF_MODE(step.code) == BPF_ABS) std::memcpy(&accumulator, reinterpret_cast<const char*>(&data) + step.k, 4);
        else if (BPF_MODE(step.code) == BPF_IMM) accumulator = step.k;
        else accumulator = memory[step.k & 15];
        break;
      case BPF_LDX: index = BPF_MODE(step.code) == BPF_IMM ? step.k : memory[step.k & 15]; break;
      case BPF_ST: memory[step.k & 15] = accumulator; break;
      case BPF_STX: memory[step.k & 15] = index; break;
      case BPF_MISC: BPF_MISCOP(step.code) == BPF_TAX ? index = accumulator : accumulator = index; break;
      case BPF_ALU:
        if (BPF_OP(step.code) == BPF_AND) accumulator &= operand;
        else if (BPF_OP(step.code) == BPF_OR) accumulator |= operand;
        else ADD_FAILURE() << "unexpected arithmetic";
        break;
      case BPF_JMP: {
        bool jump = false;
        switch (BPF_OP(step.code)) {
          case BPF_JA: at += step.k; continue;
          case BPF_JEQ: jump = accumulator == operand; break;
          case BPF_JGT: jump = accumulator > operand; break;
          case BPF_JGE: jump = accumulator >= operand; break;
          case BPF_JSET: jump = accumulator & operand; break;
          default: ADD_FAILURE() << "unexpected jump";
        }
        at += jump ? step.jt : step.jf;
        break;
      }
      case BPF_RET: return step.k;
    }
  }
  ADD_FAILURE() << "the filter ran off its end";
  return 0;
}

class Filter : public ::testing::Test {
 protected:
  Filter() {
    const std::string bytes = os::compile_filter().value();
    program_.resize(bytes.size() / sizeof(sock_filter));
    std::memcpy(program_.data(), bytes.data(), bytes.size());
  }
  std::uint32_t ask(long number, std::initializer_list<std::uint64_t> arguments = {}, std::uint32_t arch = kArch) {
    seccomp_data data{};
    data.nr = static_cast<int>(number);
    data.arch = arch;
    std::size_t i = 0;
    for (const std::uint64_t argument : arguments) data.args[i++] = argument;
    return evaluate(program_, data);
  }
  static constexpr std::uint32_t kDenied = SECCOMP_RET_ERRNO | EPERM, kUnknown = SECCOMP_RET_ERRNO | ENOSYS;
  std::vector<sock_filter> program_;
};

TEST_F(Filter, LetsOrdinaryProgramsWork) {
  for (const long number : {SYS_read, SYS_write, SYS_openat, SYS_mmap, SYS_futex, SYS_execve, SYS_execveat, SYS_wait4, SYS_exit_group,
                            SYS_epoll_pwait, SYS_getrandom, SYS_renameat2, SYS_accept4, SYS_rt_sigreturn, SYS_prctl})
    EXPECT_EQ(ask(number), SECCOMP_RET_ALLOW) << number;
}

TEST_F(Filter, RefusesWhatEscapesBeginWith) {
  for (const long number : {SYS_mount, SYS_umount2, SYS_pivot_root, SYS_chroot, SYS_setns, SYS_unshare, SYS_bpf, SYS_perf_event_open,
                            SYS_keyctl, SYS_add_key, SYS_request_key, SYS_init_module, SYS_finit_module, SYS_delete_module, SYS_kexec_load,
                            SYS_reboot, SYS_swapon, SYS_settimeofday, SYS_clock_settime, SYS_ptrace, SYS_process_vm_readv,
                            SYS_process_vm_writev, SYS_open_by_handle_at, SYS_quotactl, SYS_acct, SYS_syslog})
    EXPECT_EQ(ask(number), kDenied) << number;
  for (const long number : {428L /* open_tree */, 429L, 430L, 431L, 432L, 433L, 442L /* mount_setattr */, 438L /* pidfd_getfd */,
                            426L /* io_uring_enter */, 427L, 1000L, 4000L})
    EXPECT_EQ(ask(number), kDenied) << number;
}

TEST_F(Filter, SaysNewCallsAreUnknownSoThatProgramsFallBack) {
  for (const long number : {435L /* clone3 */, 425L /* io_uring_setup */, 323L /* userfaultfd, x86-64 */})
    if (number != 323L || kArch == AUDIT_ARCH_X86_64) { EXPECT_EQ(ask(number), kUnknown) << number; }
}

TEST_F(Filter, CloneMakesThreadsAndProcessesButNoNamespaces) {
  EXPECT_EQ(ask(SYS_clone, {CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM}), SECCOMP_RET_ALLOW);
  EXPECT_EQ(ask(SYS_clone, {17}), SECCOMP_RET_ALLOW);
  for (const std::uint64_t flag : {CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET})
    EXPECT_EQ(ask(SYS_clone, {flag | 17}), kDenied) << flag;
}

TEST_F(Filter, OnlyKnownAddressFamilies) {
  for (const std::uint64_t family : {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK}) EXPECT_EQ(ask(SYS_socket, {family, 1}), SECCOMP_RET_ALLOW);
  for (const std::uint64_t family : {AF_PACKET, AF_VSOCK, AF_ALG, AF_BLUETOOTH, AF_KEY, AF_XDP, 0, 200})
    EXPECT_EQ(ask(SYS_socket, {family, 3}), kDenied) << family;
}

TEST_F(Filter, ArgumentsThatMatter) {
  EXPECT_EQ(ask(SYS_prlimit64, {0, 7}), SECCOMP_RET_ALLOW);
  EXPECT_EQ(ask(SYS_prlimit64, {1, 7}), kDenied);
  EXPECT_EQ(ask(SYS_personality, {0xffffffff}), SECCOMP_RET_ALLOW);
  EXPECT_EQ(ask(SYS_personality, {0}), SECCOMP_RET_ALLOW);
  EXPECT_EQ(ask(SYS_personality, {0x0040000}), kDenied);  // ADDR_NO_RANDOMIZE
  EXPECT_EQ(ask(SYS_ioctl, {0, TCGETS}), SECCOMP_RET_ALLOW);
  EXPECT_EQ(ask(SYS_ioctl, {0, TIOCSTI}), kDenied);
  EXPECT_EQ(ask(SYS_ioctl, {0, 0x541C /* TIOCLINUX */}), kDenied);
  EXPECT_EQ(ask(SYS_ioctl, {0, TIOCSTI | 0x100000000ull}), kDenied);  // the kernel looks at the lower half only
}

TEST_F(Filter, NobodySlowsTheAgentDown) {
  for (const long number : {SYS_sched_setaffinity, SYS_sched_setparam, SYS_sched_setscheduler, SYS_sched_setattr}) {
    EXPECT_EQ(ask(number, {0}), SECCOMP_RET_ALLOW) << number;
    EXPECT_EQ(ask(number, {77}), SECCOMP_RET_ALLOW) << number;
    EXPECT_EQ(ask(number, {1}), kDenied) << number;
  }
  for (const std::uint64_t which : {PRIO_PROCESS, PRIO_PGRP}) {
    EXPECT_EQ(ask(SYS_setpriority, {which, 0}), SECCOMP_RET_ALLOW);
    EXPECT_EQ(ask(SYS_setpriority, {which, 77}), SECCOMP_RET_ALLOW);
    EXPECT_EQ(ask(SYS_setpriority, {which, 1}), kDenied);
  }
  EXPECT_EQ(ask(SYS_setpriority, {PRIO_USER, 0}), kDenied);
  for (const std::uint64_t which : {1 /* process */, 2 /* group */}) {
    EXPECT_EQ(ask(SYS_ioprio_set, {which, 0}), SECCOMP_RET_ALLOW);
    EXPECT_EQ(ask(SYS_ioprio_set, {which, 1}), kDenied);
  }
  EXPECT_EQ(ask(SYS_ioprio_set, {3 /* user */, 0}), kDenied);
}

#if defined(__x86_64__)
TEST_F(Filter, ForeignEntriesEndTheProcess) {
  for (const long number : {0, 1, 3, 11, 120, 252}) EXPECT_EQ(ask(number, {}, AUDIT_ARCH_I386), SECCOMP_RET_KILL_PROCESS);
  for (const long number : {0x40000000L, 0x40000001L, 0x40000000L + SYS_execve, 0x40000000L + 520}) {
    const auto answer = ask(number);
    EXPECT_NE(answer, SECCOMP_RET_ALLOW) << number;
  }
}
#endif

TEST_F(Filter, IsShort) {
  // Installing costs by the instruction, in every create: see docs of compile_filter.
  EXPECT_LE(program_.size(), 200u);
}

}  // namespace
