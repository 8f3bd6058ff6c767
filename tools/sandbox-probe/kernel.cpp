// The kernel's wider surface: what a sandbox has no use for, and what belongs to the machine.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "probe.hpp"

namespace probe {
namespace {

Seen bpf_map(const std::string&) {
  const std::uint32_t attributes[32] = {2 /* ARRAY */, 4, 4, 1};
  return verdict(::syscall(321, 0, attributes, 72), "bpf(MAP_CREATE)");
}
Seen perf(const std::string&) {
  char attributes[120] = {};
  const std::uint32_t size = sizeof attributes, software = 1;
  ::memcpy(attributes, &software, 4);
  ::memcpy(attributes + 4, &size, 4);
  return verdict(::syscall(298, attributes, 0, -1, -1, 0), "perf_event_open");
}
Seen user_faults(const std::string&) {
  const long fd = ::syscall(323, O_CLOEXEC);
  if (fd >= 0) return open_door("userfaultfd worked");
  const Seen device = opens("/dev/userfaultfd", O_RDWR);
  return device.verdict == Verdict::open ? device : blocked_text("userfaultfd and /dev/userfaultfd refuse");
}
Seen io_uring(const std::string&) {
  char params[120] = {};
  return verdict(::syscall(425, 4, params), "io_uring_setup");
}
// No module, no file: the question is only whether the kernel looks at the argument before it says no.
Seen init_module_door(const std::string&) { return reaches(::syscall(175, "", 0, ""), "init_module"); }
Seen finit_module_door(const std::string&) { return reaches(::syscall(313, -1, "", 0), "finit_module"); }
Seen delete_module_door(const std::string&) { return reaches(::syscall(176, "sandbox-probe-no-such-module", O_NONBLOCK), "delete_module"); }
Seen kexec_door(const std::string&) { return reaches(::syscall(246, 0, 0, 0, 0xffff), "kexec_load(no such flag)"); }
Seen keyctl_door(const std::string&) { return reaches(::syscall(250, 0 /* GET_KEYRING_ID */, -2, 1), "keyctl"); }
Seen add_key_door(const std::string&) {
  return verdict(::syscall(248, "user", "sandbox-probe", "x", 1, -2 /* process keyring */), "add_key");
}
Seen request_key_door(const std::string&) { return reaches(::syscall(249, "user", "sandbox-probe", nullptr, -2), "request_key"); }
Seen proc_keys(const std::string&) {
  return read_text("/proc/keys").empty() ? blocked_text("/proc/keys shows nothing") : open_door("/proc/keys lists keys");
}

Seen log_call(const std::string&) {
  char piece[64];
  return verdict(::syscall(SYS_syslog, 3, piece, sizeof piece), "syslog(READ_ALL)");
}
Seen log_device(const std::string&) { return opens("/dev/kmsg", O_RDONLY); }
Seen symbols(const std::string&) {
  const std::string text = read_text("/proc/kallsyms");
  if (text.empty()) return blocked_text("/proc/kallsyms shows nothing");
  return text.compare(0, 16, "0000000000000000") ? open_door("/proc/kallsyms tells addresses") : blocked_text("addresses are zero");
}
Seen modules_list(const std::string&) {
  const std::string text = read_text("/proc/modules");
  const std::size_t at = text.find(" 0x");
  if (at == text.npos || text.compare(at, 19, " 0x0000000000000000", 19) == 0) return blocked_text("/proc/modules tells no address");
  return open_door("/proc/modules tells addresses");
}
Seen core_memory(const std::string&) {
  constexpr const char* kPaths[] = {"/proc/kcore", "/dev/mem", "/dev/kmem", "/dev/port"};
  return any_opens(kPaths, O_RDONLY, "the memory of the machine");
}

/// Every file below /proc/sys: none may open for writing.
Seen sysctls(const std::string&) {
  std::string directories[512] = {"/proc/sys"};
  unsigned known = 1, files = 0;
  for (unsigned next = 0; next < known; ++next) {
    DIR* directory = ::opendir(directories[next].c_str());
    if (!directory) continue;
    while (const dirent* entry = ::readdir(directory)) {
      if (entry->d_name[0] == '.') continue;
      const std::string path = directories[next] + "/" + entry->d_name;
      if (entry->d_type == DT_DIR) {
        if (known < 512) directories[known++] = path;
        continue;
      }
      ++files;
      const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
      if (fd < 0) continue;
      ::close(fd);
      ::closedir(directory);
      return open_door(path + " opens for writing");
    }
    ::closedir(directory);
  }
  return files == 0 ? blocked_text("/proc/sys is empty")
                    : blocked_text("none of " + std::to_string(files) + " files of /proc/sys opens for writing");
}
Seen sysrq(const std::string&) { return opens("/proc/sysrq-trigger", O_WRONLY); }
Seen core_pattern(const std::string&) { return opens("/proc/sys/kernel/core_pattern", O_WRONLY); }
Seen sysfs(const std::string&) {
  constexpr const char* kPaths[] = {"/sys/kernel/uevent_helper", "/sys/kernel/mm/ksm/run", "/sys/power/state", "/sys/kernel/profiling"};
  return any_opens(kPaths, O_WRONLY, "sysfs for writing");
}
Seen cgroupfs(const std::string&) {
  constexpr const char* kPaths[] = {"/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/memory/tasks", "/sys/fs/cgroup/memory/release_agent",
                                    "/sys/fs/cgroup/devices/devices.allow", "/sys/fs/cgroup/unified/cgroup.procs"};
  return any_opens(kPaths, O_WRONLY, "control groups for writing");
}
Seen host_name(const std::string&) { return verdict(::sethostname("sandbox-probe", 13), "sethostname"); }
Seen domain_name(const std::string&) { return verdict(::setdomainname("sandbox-probe", 13), "setdomainname"); }
Seen clock_set(const std::string&) {
  if (outside) return would_be_permitted(25, "CAP_SYS_TIME", "clock_settime");
  timespec now;
  ::clock_gettime(CLOCK_REALTIME, &now);
  return verdict(::syscall(SYS_clock_settime, CLOCK_REALTIME, &now), "clock_settime");
}
Seen clock_adjust(const std::string&) {
  if (outside) return would_be_permitted(25, "CAP_SYS_TIME", "adjtimex");
  timex change{};
  change.modes = ADJ_TICK;
  change.tick = 10000;
  return verdict(::syscall(SYS_adjtimex, &change), "adjtimex");
}

Seen host_devices(const std::string&) {
  DIR* directory = ::opendir("/dev");
  if (!directory) return blocked("open /dev");
  std::string strange;
  while (const dirent* entry = ::readdir(directory)) {
    struct stat status;
    const std::string path = std::string("/dev/") + entry->d_name;
    if (::lstat(path.c_str(), &status) != 0 || !(S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode))) continue;
    bool known = false;
    for (const char* name : {"null", "zero", "full", "random", "urandom", "tty", "console", "ptmx"})
      if (!::strcmp(entry->d_name, name)) known = true;
    if (known) continue;
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) continue;
    ::close(fd);
    strange = path;
    break;
  }
  ::closedir(directory);
  return strange.empty() ? blocked_text("/dev has only null, zero, full, random, urandom, tty and ptmx") : open_door(strange + " opens");
}
Seen make_device(const std::string&) {
  ::unlink("/tmp/probe-null");
  if (::mknod("/tmp/probe-null", S_IFCHR | 0600, makedev(1, 3)) == 0) return open_door("mknod of a device worked");
  const std::string first = ::strerror(errno);
  ::unlink("/root/probe-null");
  if (!outside && ::mknod("/root/probe-null", S_IFBLK | 0600, makedev(7, 0)) == 0) return open_door("mknod of a block device worked");
  return blocked_text("mknod of a device: " + first);
}

Seen reboot_door(const std::string&) {
  if (outside) return would_be_permitted(22, "CAP_SYS_BOOT", "reboot");
  return reaches(::syscall(SYS_reboot, 0xfee1dead, 672274793, 0 /* CAD_OFF */, 0), "reboot(CAD_OFF)");
}
Seen swap(const std::string&) { return reaches(::syscall(SYS_swapon, "/nonexistent", 0), "swapon"); }
Seen accounting(const std::string&) { return reaches(::syscall(SYS_acct, "/nonexistent"), "acct"); }
Seen quota(const std::string&) { return reaches(::syscall(SYS_quotactl, 0x800007 << 8, "/nonexistent", 0, 0), "quotactl"); }
Seen personality_door(const std::string&) {
  return verdict(::syscall(SYS_personality, 0x0040000 /* ADDR_NO_RANDOMIZE */), "personality(ADDR_NO_RANDOMIZE)");
}
Seen io_ports(const std::string&) {
#if defined(__x86_64__)
  if (outside) return would_be_permitted(17, "CAP_SYS_RAWIO", "iopl");
  return verdict(::syscall(SYS_iopl, 3), "iopl(3)");
#else
  return skipped("x86 only");
#endif
}

Seen terminal_type(const std::string&) {
  int fd = ::open("/dev/tty", O_RDWR | O_CLOEXEC);
  if (fd < 0) fd = 0;
  if (!::isatty(fd)) return skipped("there is no terminal to type into");
  const char c = 'x';
  return verdict(::ioctl(fd, TIOCSTI, &c), "TIOCSTI");
}
Seen terminal_console(const std::string&) {
  char c = 2;
  return verdict(::ioctl(0, 0x541C /* TIOCLINUX */, &c), "TIOCLINUX");
}

constexpr Attempt kAttempts[] = {
    {"bpf", bpf_map},
    {"perf", perf},
    {"userfaultfd", user_faults},
    {"io_uring", io_uring},
    {"init_module", init_module_door},
    {"finit_module", finit_module_door},
    {"delete_module", delete_module_door},
    {"kexec", kexec_door},
    {"keyctl", keyctl_door},
    {"add_key", add_key_door},
    {"request_key", request_key_door},
    {"proc_keys", proc_keys},
    {"kernel_log", log_call},
    {"dev_kmsg", log_device},
    {"kallsyms", symbols},
    {"modules", modules_list},
    {"core_memory", core_memory},
    {"sysctls", sysctls},
    {"sysrq", sysrq},
    {"core_pattern", core_pattern},
    {"sysfs", sysfs},
    {"cgroupfs", cgroupfs},
    {"hostname", host_name},
    {"domainname", domain_name},
    {"clock", clock_set},
    {"adjtimex", clock_adjust},
    {"devices", host_devices},
    {"mknod", make_device},
    {"reboot", reboot_door},
    {"swapon", swap},
    {"acct", accounting},
    {"quotactl", quota},
    {"personality", personality_door},
    {"iopl", io_ports},
    {"tiocsti", terminal_type, Control::never, "it would type into the terminal of whoever runs this"},
    {"tioclinux", terminal_console, Control::never, "it would act on the console of whoever runs this"},
};

}  // namespace

std::span<const Attempt> kernel_attempts() { return kAttempts; }

}  // namespace probe
