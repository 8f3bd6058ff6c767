// Files: of the host, of the image, and ways around the mount namespace.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "probe.hpp"

namespace probe {
namespace {

Seen may_write(const char* directory) {
  if (outside) {
    // The host's own root: whether we could, not whether we do.
    if (::access(directory, W_OK) == 0) return open_door(std::string(directory) + " is writable for this process; not written, by design");
    return blocked(std::string("write to ") + directory);
  }
  const std::string path = std::string(directory) + (directory[1] ? "/" : "") + "sandbox-probe-was-here";
  const int fd = ::open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
  if (fd < 0) return blocked(std::string("create a file in ") + directory);
  ::close(fd);
  ::unlink(path.c_str());
  return open_door(std::string("created a file in ") + directory);
}
Seen write_root(const std::string&) { return may_write("/"); }
Seen write_usr(const std::string&) { return may_write("/usr/bin"); }
Seen write_etc(const std::string&) { return may_write("/etc"); }
Seen overwrite_program(const std::string&) {
  constexpr const char* kPrograms[] = {"/bin/sh", "/usr/bin/env", "/usr/bin/python3", "/usr/lib/x86_64-linux-gnu/libc.so.6",
                                       "/lib64/ld-linux-x86-64.so.2"};
  for (const char* path : kPrograms) {
    if (outside) {
      if (::access(path, W_OK) == 0) return open_door(std::string(path) + " is writable for this process; not opened, by design");
      continue;
    }
    const int fd = ::open(path, O_WRONLY | O_CLOEXEC);
    // A program that runs says ETXTBSY before the kernel looks at its mount.
    struct statvfs space;
    const bool running = fd < 0 && errno == ETXTBSY && ::statvfs(path, &space) == 0 && !(space.f_flag & ST_RDONLY);
    if (fd >= 0 || running) return open_door(std::string(path) + " opens for writing");
  }
  return blocked("open programs and libraries for writing");
}
Seen run_from_tmp(const std::string&) {
  const char path[] = "/tmp/sandbox-probe-script";
  const int fd = ::open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0700);
  if (fd < 0) return blocked("create a file in /tmp");
  const bool written = ::write(fd, "#!/bin/sh\nexit 0\n", 17) == 17;
  ::close(fd);
  if (!written) return blocked("write to /tmp");
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::execl(path, path, static_cast<char*>(nullptr));
    ::_exit(77);
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  ::unlink(path);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return open_door("a file in /tmp was run");
  return blocked_text("/tmp is mounted noexec");
}
Seen by_handle(const std::string&) {
  struct {
    unsigned bytes;
    int type;
    unsigned char data[128];
  } handle{128, 0, {}};
  int mount = 0;
  if (::syscall(303, AT_FDCWD, "/tmp", &handle, &mount, 0) != 0) return blocked("name_to_handle_at");
  const int directory = ::open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  return verdict(::syscall(304, directory, &handle, O_RDONLY), "open_by_handle_at");
}
Seen host_secrets(const std::string&) {
  for (const char* path : {"/etc/shadow", "/etc/gshadow", "/etc/ssh/ssh_host_ed25519_key", "/etc/ssh/ssh_host_rsa_key", "/etc/sudoers",
                           "/root/.ssh", "/root/.bashrc", "/run/docker.sock", "/var/run/docker.sock", "/run/containerd/containerd.sock",
                           "/etc/machine-id", "/var/log/dpkg.log", "/var/lib/dpkg/status", "/boot"}) {
    struct stat status;
    if (::stat(path, &status) == 0) return open_door(std::string(path) + " is visible");
  }
  if (DIR* homes = ::opendir("/home")) {
    const dirent* entry;
    while ((entry = ::readdir(homes)) != nullptr && entry->d_name[0] == '.') {
    }
    const bool any = entry != nullptr;
    ::closedir(homes);
    if (any) return open_door("/home has entries");
  }
  return blocked_text("no secret, log, socket or home of the host is visible");
}
/// `argument`: a file that exists on the host.
Seen host_file(const std::string& argument) {
  if (argument.empty()) return skipped("no path given");
  const Seen direct = opens(argument.c_str(), O_RDONLY);
  if (direct.verdict == Verdict::open) return direct;
  for (const std::string& prefix :
       {std::string("/proc/self/root"), "/proc/" + std::to_string(target) + "/root", std::string("/proc/self/cwd/../../../.."),
        std::string("/../../../.."), std::string("/dev/fd/../../..")}) {
    const Seen seen = opens((prefix + argument).c_str(), O_RDONLY);
    if (seen.verdict == Verdict::open) return seen;
  }
  return direct;
}
Seen descriptors(const std::string&) {
  if (inherited_descriptors == 0) return blocked_text("a new process has descriptors 0, 1 and 2 only");
  return open_door(std::to_string(inherited_descriptors) + " descriptors beyond 2 were inherited");
}

/// ".." from every directory we hold must end at our root. A control enters a chroot with one foot outside.
Seen working_directory(const std::string&) {
  int here = ::open(outside ? "/" : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (outside) {
    ::mkdir("/tmp/sandbox-probe-jail", 0700);
    if (here < 0 || ::chroot("/tmp/sandbox-probe-jail") != 0) return blocked("chroot, to leave it again");
  } else {
    char path[4096];
    if (::syscall(SYS_getcwd, path, sizeof path) > 0 && path[0] != '/') return open_door(std::string("the working directory is ") + path);
  }
  for (int i = 0; i < 64 && here >= 0; ++i) {
    const int above = ::openat(here, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
    ::close(here);
    here = above;
  }
  struct stat ours, end;
  if (here < 0 || ::fstat(here, &end) != 0 || ::stat("/", &ours) != 0) return skipped("no way up");
  if (ours.st_dev == end.st_dev && ours.st_ino == end.st_ino) return blocked_text("64 times \"..\" ends at the sandbox's own root");
  return open_door("64 times \"..\" ends outside the root");
}

Seen attribute(const char* name) {
  const char path[] = "/tmp/sandbox-probe-attribute";
  const int fd = ::open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
  if (fd < 0) return blocked("create a file in /tmp");
  const long result = ::fsetxattr(fd, name, "y", 1, 0);
  const int why = errno;
  ::close(fd);
  ::unlink(path);
  errno = why;
  return verdict(result, std::string("setxattr ") + name);
}
Seen attribute_trusted(const std::string&) { return attribute("trusted.overlay.opaque"); }
/// With the namespaced form (revision 3) the kernel wants CAP_SETFCAP over the file.
Seen attribute_capability(const std::string&) {
  const char path[] = "/tmp/sandbox-probe-attribute";
  const int fd = ::open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
  if (fd < 0) return blocked("create a file in /tmp");
  const std::uint32_t value[5] = {0x02000001, 1u << 21, 0, 0, 0};
  const long result = ::fsetxattr(fd, "security.capability", value, sizeof value, 0);
  const long smaller = result == 0 ? result : ::fsetxattr(fd, "security.capability", value, 20, 0);
  const int why = errno;
  ::close(fd);
  ::unlink(path);
  errno = why;
  return verdict(smaller, "setxattr security.capability");
}

constexpr Attempt kAttempts[] = {
    {"write_root", write_root},
    {"write_usr", write_usr},
    {"write_etc", write_etc},
    {"overwrite_program", overwrite_program},
    {"run_from_tmp", run_from_tmp},
    {"file_handle", by_handle},
    {"host_secrets", host_secrets},
    {"host_file", host_file},
    {"descriptors", descriptors},
    {"cwd", working_directory},
    {"xattr_trusted", attribute_trusted},
    {"xattr_capability", attribute_capability},
};

}  // namespace

std::span<const Attempt> file_attempts() { return kAttempts; }

}  // namespace probe
