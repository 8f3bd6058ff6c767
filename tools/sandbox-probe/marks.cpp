// Traces that a tenant leaves, and the look for them by the next.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "probe.hpp"

namespace probe {
namespace {

constexpr key_t kKey = 0x5b0d0a11;
constexpr char kName[] = "sandbox-mark";
constexpr const char* kFiles[] = {"/root/.sandbox-mark", "/tmp/.sandbox-mark", "/dev/shm/.sandbox-mark", "/root/.profile-mark"};

sockaddr_un abstract_name(socklen_t& size) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  ::memcpy(address.sun_path + 1, kName, sizeof kName - 1);
  size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + sizeof kName);
  return address;
}

Seen files(const std::string&) {
  struct stat status;
  for (const char* path : kFiles)
    if (::lstat(path, &status) == 0) return open_door(std::string(path) + " is there");
  for (const char* directory : {"/root", "/tmp", "/dev/shm"}) {
    DIR* entries = ::opendir(directory);
    while (const dirent* entry = entries ? ::readdir(entries) : nullptr) {
      if (!::strcmp(entry->d_name, ".") || !::strcmp(entry->d_name, "..") || !::strncmp(entry->d_name, "sandbox-probe", 13)) continue;
      const std::string found = std::string(directory) + "/" + entry->d_name;
      ::closedir(entries);
      return open_door(found + " is there");
    }
    if (entries) ::closedir(entries);
  }
  return blocked_text("/root, /tmp and /dev/shm are empty");
}
Seen ipc(const std::string&) {
  if (::shmget(kKey, 0, 0) >= 0) return open_door("a System V segment is there");
  if (::semget(kKey, 0, 0) >= 0) return open_door("a semaphore is there");
  if (::msgget(kKey, 0) >= 0) return open_door("a message queue is there");
  if (::mq_open("/sandbox-mark", O_RDONLY) != static_cast<mqd_t>(-1)) return open_door("a POSIX message queue is there");
  return blocked_text("no segment, semaphore or queue");
}
Seen socket_name(const std::string&) {
  socklen_t size = 0;
  const sockaddr_un address = abstract_name(size);
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  return verdict(::connect(fd, reinterpret_cast<const sockaddr*>(&address), size), "connect to the earlier tenant's socket");
}
Seen processes(const std::string&) {
  DIR* directory = ::opendir("/proc");
  if (!directory) return skipped("no /proc");
  while (const dirent* entry = ::readdir(directory)) {
    if (::atoi(entry->d_name) <= 0) continue;
    if (read_text((std::string("/proc/") + entry->d_name + "/comm").c_str()).find(kName) != std::string::npos) {
      ::closedir(directory);
      return open_door("the earlier tenant's process runs");
    }
  }
  ::closedir(directory);
  return blocked_text("no process of an earlier tenant");
}
Seen variables(const std::string&) {
  return ::getenv("SANDBOX_MARK") ? open_door("the earlier tenant's variable is set") : blocked_text("no variable of an earlier tenant");
}
Seen keys(const std::string&) {
  const long serial = ::syscall(249, "user", kName, nullptr, 0);
  return verdict(serial, "find the earlier tenant's key");
}

constexpr Attempt kAttempts[] = {
    {"mark_files", files, Control::never, "looked for in the dirty sandbox instead"},
    {"mark_ipc", ipc, Control::never, "looked for in the dirty sandbox instead"},
    {"mark_socket", socket_name, Control::never, "looked for in the dirty sandbox instead"},
    {"mark_processes", processes, Control::never, "looked for in the dirty sandbox instead"},
    {"mark_env", variables, Control::never, "looked for in the dirty sandbox instead"},
    {"mark_keys", keys, Control::never, "no sandbox can make one: add_key is refused"},
};

}  // namespace

std::span<const Attempt> mark_attempts() { return kAttempts; }

int leave_marks() {
  int left = 0;
  for (const char* path : kFiles) {
    const int fd = ::open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    if (fd >= 0 && ::write(fd, "mark", 4) == 4) ++left;
  }
  if (::shmget(kKey, 4096, IPC_CREAT | 0600) >= 0) ++left;
  if (::semget(kKey, 1, IPC_CREAT | 0600) >= 0) ++left;
  if (::msgget(kKey, IPC_CREAT | 0600) >= 0) ++left;
  if (::mq_open("/sandbox-mark", O_CREAT | O_RDWR, 0600, nullptr) != static_cast<mqd_t>(-1)) ++left;
  ::syscall(248, "user", kName, "x", 1, -5 /* user session keyring */);
  socklen_t size = 0;
  const sockaddr_un address = abstract_name(size);
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), size) == 0 && ::listen(fd, 8) == 0) ++left;
  if (::fork() == 0) {
    ::setsid();
    ::prctl(PR_SET_NAME, kName);
    for (int i = 0; i < 3; ++i) ::close(i);
    for (;;) ::pause();
  }
  std::printf("%d\n", ++left);
  return 0;
}

}  // namespace probe
