#include "os/process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include <cerrno>

#include "os/syscalls.hpp"

namespace sandbox::os {
namespace {
constexpr const char* kSpawn = "os.spawn";
}

Result<PidfdProcess> PidfdProcess::spawn(int program, const std::vector<std::string>& argv, std::span<const int> passed) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawnattr_init(&attributes);
  sigset_t all, none;
  ::sigfillset(&all);
  ::sigemptyset(&none);
  ::posix_spawnattr_setsigdefault(&attributes, &all);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSID);
  ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  // The sources may lie where the targets go, so all move out of the way first.
  const int count = static_cast<int>(passed.size());
  std::vector<core::UniqueFd> high;
  for (const int fd : passed) {
    high.emplace_back(::fcntl(fd, F_DUPFD_CLOEXEC, 3 + count + 1));
    if (!high.back()) return Error::from_errno(errno, kSpawn);
  }
  core::UniqueFd image(::fcntl(program, F_DUPFD_CLOEXEC, 3 + count + 1));
  if (!image) return Error::from_errno(errno, kSpawn);
  for (int i = 0; i < count; ++i) ::posix_spawn_file_actions_adddup2(&actions, high[static_cast<std::size_t>(i)].get(), 3 + i);

  std::vector<char*> pointers;
  for (const std::string& argument : argv) pointers.push_back(const_cast<char*>(argument.c_str()));
  pointers.push_back(nullptr);
  char* environment[] = {nullptr};
  const std::string path = "/proc/self/fd/" + std::to_string(image.get());
  pid_t pid = -1;
  const int error = ::posix_spawn(&pid, path.c_str(), &actions, &attributes, pointers.data(), environment);
  ::posix_spawn_file_actions_destroy(&actions);
  ::posix_spawnattr_destroy(&attributes);
  if (error != 0) return Error::from_errno(error, kSpawn, argv.empty() ? std::string() : argv.front());
  // Nobody else reaps our child, so its number cannot have passed to another process.
  const int pidfd = pidfd_open(pid);
  if (pidfd < 0) {
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    return Error::from_errno(-pidfd, kSpawn, "pidfd_open");
  }
  return PidfdProcess(pid, core::UniqueFd(pidfd));
}

PidfdProcess& PidfdProcess::operator=(PidfdProcess&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(pidfd_, other.pidfd_);
  return *this;
}

PidfdProcess::~PidfdProcess() {
  if (!pidfd_) return;
  pidfd_send_signal(pidfd_.get(), SIGKILL);
  siginfo_t info;
  while (::waitid(P_PIDFD, static_cast<id_t>(pidfd_.get()), &info, WEXITED) != 0 && errno == EINTR) {
  }
}

Result<void> PidfdProcess::kill(int signal) {
  if (const int error = pidfd_send_signal(pidfd_.get(), signal); error < 0) return Error::from_errno(-error, "os.kill");
  return {};
}

Result<int> PidfdProcess::wait(core::TimePoint deadline) {
  for (;;) {
    pollfd end{pidfd_.get(), POLLIN, 0};
    const int ready = ::poll(&end, 1, core::poll_timeout(deadline));
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0) return Error(ErrorCode::deadline_exceeded, "the process did not end in time").with_operation("os.wait");
    int status = 0;
    if (::waitpid(pid_, &status, 0) < 0) return Error::from_errno(errno, "os.wait");
    pidfd_.reset();
    return status;
  }
}

}  // namespace sandbox::os
