#pragma once

#include <string>

#include <sandbox/result.hpp>

#include "core/unique_fd.hpp"

/// Programs in sealed memory: nobody can change, replace or even read them once made. Host only.
namespace sandbox::os {

/// A copy of the program `file`, sealed against every change, mode 0111: it can be executed through the descriptor but
/// not opened, and a process running it is not dumpable. Errors: from reading `file`; unsupported (memfd, noexec policy).
Result<core::UniqueFd> sealed_program(int file, const std::string& name);

/// Opens the helper program `name` in `directory` for reading, after looking at who could have changed it.
/// Errors: not_found; permission_denied when it (or its directory) is writable by others than root and us.
Result<core::UniqueFd> open_helper(const std::string& directory, const std::string& name);

}  // namespace sandbox::os
