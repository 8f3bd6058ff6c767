#pragma once

#include <string>

#include <sandbox/result.hpp>

/// The system call filter of a sandbox. libseccomp knows the calls' numbers; the program is assembled here, because its
/// length is paid for in every create. Host only; docs: the tables in seccomp.cpp.
namespace sandbox::os {

/// The default allow-list for this machine's architecture as struct sock_filter[] bytes. Calls not on it fail with
/// EPERM (ENOSYS where programs probe for a newer call); calls through a foreign entry (32-bit, x32) kill the process.
/// Under a millisecond; the result never changes, so callers keep it. Errors: unsupported.
Result<std::string> compile_filter();

}  // namespace sandbox::os
