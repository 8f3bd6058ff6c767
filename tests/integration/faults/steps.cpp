// An embedder that does what it is told, one line each, and says how it went: "ok" or "error CODE ERRNO OPERATION | TEXT".
//   fault-steps STATE      open, create (a sandbox, a command in it, its end), close, quit
#include <sys/prctl.h>
#include <signal.h>

#include <chrono>
#include <iostream>
#include <optional>
#include <string>

#include <sandbox/sandbox.hpp>

namespace {

using namespace std::chrono_literals;
using sandbox::Result;

Result<void> create(sandbox::Runtime& runtime) {
  SANDBOX_TRY(sandbox::Sandbox box, runtime.create(sandbox::SandboxSpec(), sandbox::CreateOptions().cold().deadline(10s)));
  SANDBOX_TRY(const auto result, box.process().exec(sandbox::Command("exit 7").timeout(10s)));
  if (result.exit_code != 7) return sandbox::Error(sandbox::ErrorCode::internal, "exit 7 came back as " + std::to_string(result.shell_code()));
  return box.close();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 64;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  std::optional<sandbox::Runtime> runtime;
  for (std::string command; std::getline(std::cin, command) && command != "quit";) {
    Result<void> outcome;
    if (command == "open") {
      auto opened = sandbox::Runtime::open(sandbox::RuntimeOptions().state_directory(argv[1]).launchers(1));
      if (opened) runtime.emplace(*std::move(opened));
      else outcome = std::move(opened).error();
    } else if (command == "create" && runtime) {
      outcome = create(*runtime);
    } else if (command == "close" && runtime) {
      outcome = runtime->close();
      runtime.reset();
    }
    if (outcome) {
      std::cout << "ok" << std::endl;
      continue;
    }
    const sandbox::Error& error = outcome.error();
    std::cout << "error " << name(error.code()) << ' ' << error.sys_errno() << ' ' << (error.operation().empty() ? "-" : error.operation()) << " | "
              << error.to_string() << std::endl;
  }
}
