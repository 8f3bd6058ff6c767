// The mount API, old and new, and what is mounted.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "probe.hpp"

namespace probe {
namespace {

Seen mount_tmpfs(const std::string&) { return verdict(::mount("none", "/tmp", "tmpfs", 0, nullptr), "mount(tmpfs)"); }
Seen mount_bind(const std::string&) { return verdict(::mount("/", "/tmp", nullptr, MS_BIND, nullptr), "mount(MS_BIND)"); }
Seen mount_proc(const std::string&) { return verdict(::mount("proc", "/tmp", "proc", 0, nullptr), "mount(proc)"); }
Seen mount_overlay(const std::string&) {
  ::mkdir("/tmp/overlay-upper", 0700);
  ::mkdir("/tmp/overlay-work", 0700);
  return verdict(::mount("overlay", "/tmp", "overlay", 0, "lowerdir=/usr,upperdir=/tmp/overlay-upper,workdir=/tmp/overlay-work"),
                 "mount(overlay)");
}
Seen remount_root(const std::string&) {
  return verdict(::mount(nullptr, "/", nullptr, MS_REMOUNT | MS_BIND, nullptr), "remount / read-write");
}
Seen unmount(const std::string&) { return verdict(::umount2("/proc", MNT_DETACH), "umount(/proc)"); }
Seen pivot_root_door(const std::string&) { return reaches(::syscall(SYS_pivot_root, "/", "/tmp"), "pivot_root"); }
Seen chroot_door(const std::string&) { return verdict(::chroot("/tmp"), "chroot"); }
Seen new_fsopen(const std::string&) { return verdict(::syscall(430, "tmpfs", 0), "fsopen(tmpfs)"); }
Seen new_open_tree(const std::string&) { return verdict(::syscall(428, AT_FDCWD, "/", 1 /* CLONE */), "open_tree(CLONE)"); }
Seen new_move_mount(const std::string&) { return reaches(::syscall(429, AT_FDCWD, "/proc", AT_FDCWD, "/tmp", 0), "move_mount"); }
Seen new_mount_setattr(const std::string&) {
  const std::uint64_t attributes[4] = {0, 0, 0, 0};
  return verdict(::syscall(442, AT_FDCWD, "/", 0, attributes, sizeof attributes), "mount_setattr(/)");
}
Seen new_fspick(const std::string&) { return verdict(::syscall(433, AT_FDCWD, "/", 0), "fspick(/)"); }
Seen new_fsmount(const std::string&) { return reaches(::syscall(432, -1, 0, 0), "fsmount"); }

/// A masked place of /proc must show nothing: it is an empty file or directory, or absent.
Seen masked(const std::string&) {
  for (const char* path : {"/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sched_debug", "/proc/latency_stats", "/proc/kallsyms",
                           "/proc/kmsg", "/proc/sysrq-trigger", "/proc/kpagecount", "/proc/kpageflags", "/proc/vmallocinfo"}) {
    const int fd = ::open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    char piece[64];
    const ssize_t size = fd >= 0 ? ::read(fd, piece, sizeof piece) : -1;
    if (fd >= 0) ::close(fd);
    if (size > 0) return open_door(std::string(path) + " can be read");
  }
  struct stat status;
  for (const char* path : {"/proc/acpi", "/proc/scsi", "/proc/bus/pci", "/sys/firmware", "/proc/asound"})
    if (::stat(path, &status) == 0 && S_ISDIR(status.st_mode) && status.st_nlink > 2) return open_door(std::string(path) + " has entries");
  return blocked_text("what /proc and /sys tell about the machine is masked or absent");
}

/// Places of the host must not be named by mountinfo: the root field (4th) tells where a bind mount comes from.
Seen mountinfo_paths(const std::string& argument) {
  if (outside) {  // such a place, made for the occasion
    ::mkdir("/tmp/home", 0700);
    ::mkdir("/tmp/home/somebody", 0700);
    ::mkdir("/tmp/here", 0700);
    ::mount("/tmp/home/somebody", "/tmp/here", nullptr, MS_BIND, nullptr);
  }
  const std::string text = read_text("/proc/self/mountinfo") + read_text("/proc/self/mounts");
  if (text.empty()) return blocked("read mountinfo");
  for (const char* needle : {"/var/lib/", "/home/", "lowerdir=/", "/work/", "/run/user/"})
    if (text.find(needle) != text.npos) return open_door(std::string("mountinfo names ") + needle);
  if (!argument.empty() && text.find(argument) != text.npos) return open_door("mountinfo names " + argument);
  return blocked_text("mountinfo names no directory of the host but /usr");
}

constexpr Attempt kAttempts[] = {
    {"mount_tmpfs", mount_tmpfs},     {"mount_bind", mount_bind},     {"mount_proc", mount_proc},
    {"mount_overlay", mount_overlay}, {"remount_root", remount_root}, {"umount", unmount},
    {"pivot_root", pivot_root_door},  {"chroot", chroot_door},        {"fsopen", new_fsopen},
    {"open_tree", new_open_tree},     {"move_mount", new_move_mount}, {"mount_setattr", new_mount_setattr},
    {"fspick", new_fspick},           {"fsmount", new_fsmount},       {"masked", masked},
    {"mountinfo", mountinfo_paths},
};

}  // namespace

std::span<const Attempt> mount_attempts() { return kAttempts; }

}  // namespace probe
