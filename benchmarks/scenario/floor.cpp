#include "floor.hpp"

#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <linux/sched.h>
#include <memory>
#include <mutex>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

namespace bench {

using sandbox::Error;
using sandbox::Result;

namespace {

constexpr std::size_t kStack = 64 << 10;

/// Starts `body` in a child that shares our memory until it executes or exits, as vfork does: only system calls in there.
template <class Body>
pid_t spawn_shared(Body& body, int flags) {
  // One stack per thread that measures; the caller is suspended while the child uses it.
  thread_local const std::unique_ptr<char[]> stack(new char[kStack]);
  return ::clone([](void* argument) { return (*static_cast<Body*>(argument))(); }, stack.get() + kStack,
                 CLONE_VM | CLONE_VFORK | SIGCHLD | flags, &body);
}

Error step_failed(int error, const char* step) { return Error::from_errno(error, "bench.floor", step); }

Result<int> wait_for(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) return step_failed(errno, "wait4");
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

std::vector<char*> pointers(const std::vector<std::string>& argv) {
  std::vector<char*> result;
  for (const auto& word : argv) result.push_back(const_cast<char*>(word.c_str()));
  result.push_back(nullptr);
  return result;
}

char kPath[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
char* const kEnvironment[] = {kPath, nullptr};

Result<pid_t> spawn(const std::vector<std::string>& argv, int in, int out, int err) {
  const auto words = pointers(argv);
  int failure = 0;
  auto body = [&]() -> int {
    ::dup2(in, 0);
    ::dup2(out, 1);
    ::dup2(err, 2);
    ::execve(words[0], words.data(), kEnvironment);
    failure = errno;
    ::_exit(127);
  };
  const pid_t pid = spawn_shared(body, 0);
  if (pid < 0) return step_failed(errno, "vfork");
  if (failure != 0) {
    ::waitpid(pid, nullptr, 0);
    return step_failed(failure, words[0]);
  }
  return pid;
}

}  // namespace

Result<int> run_with_pipes(const std::vector<std::string>& argv) {
  int out[2], err[2];
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0 || ::pipe2(out, O_CLOEXEC) != 0 || ::pipe2(err, O_CLOEXEC) != 0) return step_failed(errno, "pipe");
  auto pid = spawn(argv, null, out[1], err[1]);
  ::close(null);
  ::close(out[1]);
  ::close(err[1]);
  char buffer[4096];
  pollfd open[2] = {{out[0], POLLIN, 0}, {err[0], POLLIN, 0}};
  for (int left = 2; left > 0;) {
    ::poll(open, 2, -1);
    for (auto& one : open) {
      if (one.fd >= 0 && one.revents != 0 && ::read(one.fd, buffer, sizeof buffer) <= 0) {
        ::close(one.fd);
        one.fd = -1;
        --left;
      }
    }
  }
  if (!pid) return std::move(pid).error();
  return wait_for(*pid);
}

Result<int> run_silent(const std::vector<std::string>& argv) {
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0) return step_failed(errno, "/dev/null");
  auto pid = spawn(argv, null, null, null);
  ::close(null);
  if (!pid) return std::move(pid).error();
  return wait_for(*pid);
}

namespace {

/// What the child of BareBox::create reports: the step it is at, and errno when it failed there.
struct Step {
  const char* name = "clone";
  int error = 0;
};

/// Runs in the new namespaces on shared memory: system calls only.
int become_bare_box(Step& step, const char* map, int control, int init, const char* scratch, bool network) {
  const auto at = [&](const char* name, long result) {
    if (result >= 0) return true;
    step = {name, errno};
    ::_exit(1);
  };
  const auto put = [&](const char* file, const char* text) {
    const int fd = ::open(file, O_WRONLY | O_CLOEXEC);
    at(file, fd);
    at(file, ::write(fd, text, std::strlen(text)));
    ::close(fd);
  };
  put("/proc/self/setgroups", "deny");
  put("/proc/self/uid_map", map);
  put("/proc/self/gid_map", map + std::strlen(map) + 1);
  if (network) {
    const int socket = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    at("socket", socket);
    ifreq request{};
    std::strcpy(request.ifr_name, "lo");
    request.ifr_flags = IFF_UP;
    at("lo up", ::ioctl(socket, SIOCSIFFLAGS, &request));
    ::close(socket);
  }
  at("tmpfs", ::mount("none", scratch, "tmpfs", 0, "mode=0755"));
  at("chdir", ::chdir(scratch));
  for (const char* directory : {"usr", "proc", "dev", "tmp", "root", "old"}) at(directory, ::mkdir(directory, 0755));
  for (const char* name : {"bin", "sbin", "lib", "lib64"}) {
    char target[16] = "usr/";
    std::strcat(target, name);
    at(name, ::symlink(target, name));
  }
  at("/usr", ::mount("/usr", "usr", nullptr, MS_BIND | MS_REC, nullptr));
  at("/tmp", ::mount("none", "tmp", "tmpfs", 0, nullptr));
  at("/proc", ::mount("none", "proc", "proc", 0, nullptr));
  for (const char* name : {"null", "zero", "urandom"}) {
    char from[24] = "/dev/", to[24] = "dev/";
    std::strcat(from, name);
    std::strcat(to, name);
    const int file = ::open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    at(to, file);
    ::close(file);
    at(from, ::mount(from, to, nullptr, MS_BIND, nullptr));
  }
  at("pivot_root", ::syscall(SYS_pivot_root, ".", "old"));
  at("umount", ::umount2("/old", MNT_DETACH));
  at("chdir", ::chdir("/"));
  at("dup2", ::dup2(control, 3));
  char name[] = "init";
  char* argv[] = {name, nullptr};
  // The program was opened outside: nothing of the host but /usr is visible here any more.
  ::syscall(SYS_execveat, init, "", argv, kEnvironment, AT_EMPTY_PATH);
  at("execveat", -1);
  return 1;
}

}  // namespace

Result<BareBox> BareBox::create(bool network) {
  static const int init = [] {
    char self[PATH_MAX];
    const auto length = ::readlink("/proc/self/exe", self, sizeof self);
    std::string path(self, length > 0 ? static_cast<std::size_t>(length) : 0);
    path.resize(path.rfind('/') + 1);
    // Kept above the low numbers that children get.
    const int fd = ::open((path + "sandbox-bench-init").c_str(), O_PATH | O_CLOEXEC);
    return fd < 0 ? fd : ::fcntl(fd, F_DUPFD_CLOEXEC, 100);
  }();
  static const std::string scratch = [] {
    char pattern[] = "/tmp/sandbox-bench-XXXXXX";
    const std::string path = ::mkdtemp(pattern) != nullptr ? pattern : "";
    static std::string to_remove = path;
    std::atexit([] { ::rmdir(to_remove.c_str()); });
    return path;
  }();
  if (init < 0 || scratch.empty()) return step_failed(errno, "sandbox-bench-init");
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return step_failed(errno, "socketpair");
  char maps[64];
  const int length = std::snprintf(maps, sizeof maps, "0 %u 1", ::geteuid());
  std::snprintf(maps + length + 1, sizeof maps - static_cast<std::size_t>(length) - 1, "0 %u 1", ::getegid());
  Step step;
  auto body = [&]() -> int { return become_bare_box(step, maps, ends[1], init, scratch.c_str(), network); };
  const pid_t pid = spawn_shared(body, CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP |
                                           (network ? CLONE_NEWNET : 0));
  const int clone_error = errno;
  ::close(ends[1]);
  if (pid < 0 || step.error != 0) {
    if (pid > 0) ::waitpid(pid, nullptr, 0);
    ::close(ends[0]);
    return step_failed(pid < 0 ? clone_error : step.error, step.name);
  }
  BareBox box(pid, ends[0]);
  char ready = 0;
  if (::read(box.control_, &ready, 1) != 1 || ready != 'R') return step_failed(EPIPE, "process 1 did not start");
  return box;
}

BareBox::BareBox(BareBox&& other) noexcept : pid_(std::exchange(other.pid_, -1)), control_(std::exchange(other.control_, -1)) {}

BareBox::~BareBox() { destroy(); }

Result<void> BareBox::exec_true() {
  char byte = 'x';
  if (::write(control_, &byte, 1) != 1 || ::read(control_, &byte, 1) != 1 || byte != 'D') return step_failed(EPIPE, "exec of true");
  return {};
}

void BareBox::destroy() {
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  siginfo_t info{};
  ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED);
  pid_ = -1;
  ::close(control_);
}

}  // namespace bench
