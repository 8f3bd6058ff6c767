#pragma once

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/unique_fd.hpp"

/// Starts the real sandbox-agent (from $SANDBOX_BIN_DIR) outside of any sandbox, for tests of what talks to it.
namespace sandbox::testing {

class AgentProcess {
 public:
  /// Null when the program is not there or could not be started; errno says why.
  static std::unique_ptr<AgentProcess> start(std::vector<std::string> environment = {"PATH=/usr/bin:/bin", "HOME=/"}) {
    const char* folder = std::getenv("SANDBOX_BIN_DIR");
    const std::string program = std::string(folder ? folder : ".") + "/sandbox-agent";
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) return nullptr;
    core::UniqueFd ours(ends[0]), theirs(ends[1]);

    std::vector<char*> variables;
    for (auto& entry : environment) variables.push_back(entry.data());
    variables.push_back(nullptr);
    char name[] = "sandbox-agent";
    char* arguments[] = {name, nullptr};
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, theirs.get(), 3);   // clears FD_CLOEXEC, also when it is 3 already
    pid_t pid = 0;
    const int error = ::posix_spawn(&pid, program.c_str(), &actions, nullptr, arguments, variables.data());
    ::posix_spawn_file_actions_destroy(&actions);
    if (error != 0) {
      errno = error;
      return nullptr;
    }
    return std::unique_ptr<AgentProcess>(new AgentProcess(pid, std::move(ours)));
  }

  /// Closes the socket if it is still here; the agent must end by itself within five seconds, or it is killed.
  ~AgentProcess() {
    socket_.reset();
    if (pid_ > 0 && !wait_for_exit(5000)) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
  }
  AgentProcess(const AgentProcess&) = delete;

  pid_t pid() const noexcept { return pid_; }
  /// The client's end: a connected, non-blocking stream socket. Once.
  core::UniqueFd take_socket() noexcept { return std::move(socket_); }

  /// Whether the agent ended within `milliseconds`; reaps it.
  bool wait_for_exit(int milliseconds) {
    if (pid_ <= 0) return true;
    const core::UniqueFd handle(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
    pollfd waited{handle.get(), POLLIN, 0};
    if (!handle || ::poll(&waited, 1, milliseconds) != 1) return false;
    ::waitpid(pid_, &status_, 0);
    pid_ = -1;
    return true;
  }
  /// As from waitpid(2), after wait_for_exit().
  int status() const noexcept { return status_; }

 private:
  AgentProcess(pid_t pid, core::UniqueFd socket) : pid_(pid), socket_(std::move(socket)) {}

  pid_t pid_;
  core::UniqueFd socket_;
  int status_ = 0;
};

}  // namespace sandbox::testing
