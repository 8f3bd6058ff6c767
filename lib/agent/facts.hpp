#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "protocol/messages.hpp"

/// What this process sees of its own confinement, for the side that asked for it to compare with its plan.
namespace sandbox::agent {

/// /proc/self/status, for the two functions below: reading it is a tenth of what facts cost.
std::string read_own_status();

/// Reads /proc/self and tries doors that should be closed. Every probe is harmless where it succeeds: it asks for
/// something the kernel refuses for a later reason, or opens and closes. Costs about 150 µs.
///
/// Ids in Facts::open_doors:
///   unshare_user, mount, setns, sethostname   namespaces, mounts and names could be changed
///   sysrq, kcore, sysctl_hostname             host-wide files of /proc open for writing (kcore: reading)
///   root_write                                the root is mounted read-only and yet takes a file
///   exe_write                                 the agent's own program opens for writing
///   bpf, keyctl, perf_event, userfaultfd, io_uring, init_module   system calls that reach the kernel
protocol::Facts collect_facts(std::string_view own_status);

/// Signals this process ignores, as a mask with bit (n - 1) for signal n: programs would inherit that.
std::uint64_t ignored_signals(std::string_view own_status);

}  // namespace sandbox::agent
