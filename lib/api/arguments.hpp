#pragma once

#include <string>
#include <string_view>

#include <sandbox/command.hpp>
#include <sandbox/result.hpp>

#include "protocol/messages.hpp"

/// Checks of what callers pass, before anything is sent. Errors: invalid_argument, naming the argument.
namespace sandbox::api {

Error bad_argument(std::string_view argument, std::string_view why);
/// Absolute, not longer than kMaxPath, without NUL.
Result<void> check_path(std::string_view path, std::string_view argument = "path");
/// An environment variable: not empty, without '=' or NUL; a value without NUL.
Result<void> check_variable(std::string_view name, std::string_view value = {});

enum class Use { collect, spawn };
/// The request of an exec. `collect`: output is kept up to Command::max_output (default 1 MiB), and what only makes
/// sense for a running program (terminal, open stdin) is refused.
Result<protocol::ExecRequest> make_request(const Command& cmd, Use use);

}  // namespace sandbox::api
