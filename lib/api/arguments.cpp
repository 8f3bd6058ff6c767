#include "api/arguments.hpp"

#include <algorithm>

namespace sandbox::api {
namespace {

bool has_nul(std::string_view text) { return text.find('\0') != std::string_view::npos; }

}  // namespace

Error bad_argument(std::string_view argument, std::string_view why) {
  return Error(ErrorCode::invalid_argument, std::string(argument) + ": " + std::string(why)).with_detail("argument", std::string(argument));
}

Result<void> check_path(std::string_view path, std::string_view argument) {
  if (path.empty() || path.front() != '/') return bad_argument(argument, "must be an absolute path");
  if (path.size() > protocol::kMaxPath) return bad_argument(argument, "longer than 4095 bytes");
  if (has_nul(path)) return bad_argument(argument, "contains a NUL byte");
  return {};
}

Result<void> check_variable(std::string_view name, std::string_view value) {
  if (name.empty()) return bad_argument("name", "an environment variable needs a name");
  if (name.find('=') != std::string_view::npos || has_nul(name)) return bad_argument("name", "contains '=' or a NUL byte");
  if (has_nul(value)) return bad_argument("value", "contains a NUL byte");
  if (name.size() + value.size() > protocol::kMaxRequest / 2) return bad_argument("value", "longer than 512 KiB");
  return {};
}

Result<protocol::ExecRequest> make_request(const Command& cmd, Use use) {
  protocol::ExecRequest request;
  if (cmd.line().empty()) return bad_argument("command", "is empty");
  if (has_nul(cmd.line())) return bad_argument("command", "contains a NUL byte");
  std::size_t size = cmd.line().size();
  if (cmd.is_shell()) {
    request.shell = cmd.line();
  } else {
    if (cmd.arguments().size() + 1 > protocol::kMaxArguments) return bad_argument("args", "more than 4096");
    request.argv.reserve(cmd.arguments().size() + 1);
    request.argv.push_back(cmd.line());
    for (const auto& argument : cmd.arguments()) {
      if (has_nul(argument)) return bad_argument("args", "contains a NUL byte");
      size += argument.size();
      request.argv.push_back(argument);
    }
  }
  if (cmd.env().size() > protocol::kMaxArguments) return bad_argument("env", "more than 4096 variables");
  for (const auto& [name, value] : cmd.env()) {
    SANDBOX_CHECK(check_variable(name, value));
    size += name.size() + value.size();
    request.env.push_back({name, value});
  }
  // Framing adds a few bytes to each string; the agent's bound on the whole request is kMaxRequest.
  constexpr std::size_t kPerString = 12;
  if (size + (cmd.arguments().size() + cmd.env().size()) * kPerString > protocol::kMaxRequest - 4096) {
    return bad_argument("command", "arguments and variables are longer than 1 MiB together");
  }
  if (!cmd.workdir().empty()) SANDBOX_CHECK(check_path(cmd.workdir(), "workdir"));
  if (cmd.timeout().count() < 0) return bad_argument("timeout", "is negative");
  if (cmd.idempotency_key().size() > 64) return bad_argument("idempotency_key", "longer than 64 bytes");
  if (use == Use::collect) {
    if (cmd.pty()) return bad_argument("pty", "a terminal needs spawn()");
    if (cmd.stdin_open()) return bad_argument("open_stdin", "needs spawn()");
  }
  if (cmd.stdin_open() && cmd.stdin_text()) return bad_argument("stdin_text", "cannot be combined with open_stdin()");
  if (cmd.pty() && (cmd.pty()->rows == 0 || cmd.pty()->columns == 0)) return bad_argument("pty", "has no rows or columns");
  request.clear_env = cmd.clears_env();
  request.workdir = cmd.workdir();
  request.timeout_ms = static_cast<std::uint64_t>(cmd.timeout().count());
  // On the wire 0 means unlimited; whoever wants to keep nothing gets one byte, which the host then drops.
  const auto default_cap = use == Use::collect ? protocol::kDefaultMaxOutput : 0;
  request.max_output = cmd.max_output() ? std::max<std::uint64_t>(cmd.max_output()->bytes(), 1) : default_cap;
  request.stdin_open = cmd.stdin_open() || cmd.stdin_text();
  if (cmd.pty()) request.pty = protocol::WindowSize{cmd.pty()->rows, cmd.pty()->columns};
  request.merge_stderr = cmd.merges_stderr();
  return request;
}

}  // namespace sandbox::api
