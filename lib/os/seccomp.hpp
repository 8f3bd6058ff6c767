#pragma once

#include <string>

#include <sandbox/result.hpp>

/// The system call filter of a sandbox, compiled by libseccomp. Host only; docs: the table in seccomp.cpp.
namespace sandbox::os {

/// The default allow-list for this machine's architecture as struct sock_filter[] bytes. Calls not on it fail with
/// EPERM (ENOSYS where programs probe for a newer call); calls through a foreign entry (32-bit, x32) kill the process.
/// About 3 ms; the result never changes, so callers keep it. Errors: unsupported.
Result<std::string> compile_filter();

}  // namespace sandbox::os
