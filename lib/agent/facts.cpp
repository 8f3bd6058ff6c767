#include "agent/facts.hpp"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <charconv>
#include <string>
#include <string_view>

#include "core/unique_fd.hpp"

#ifndef O_TMPFILE
#define O_TMPFILE 020200000
#endif

namespace sandbox::agent {
namespace {

/// The whole of a file below /proc, which has no size.
std::string read_all(const char* path) {
  std::string text;
  const core::UniqueFd file(::open(path, O_RDONLY | O_CLOEXEC));
  if (!file) return text;
  constexpr std::size_t kPiece = 4096, kLimit = 1 << 20;
  for (std::size_t size = 0; size < kLimit;) {
    text.resize(size + kPiece);
    const ssize_t count = ::read(file.get(), text.data() + size, kPiece);
    size += count > 0 ? static_cast<std::size_t>(count) : 0;
    text.resize(size);
    if (count <= 0) break;
  }
  return text;
}

std::string_view next_line(std::string_view& text) {
  const auto end = text.find('\n');
  const auto line = text.substr(0, end);
  text.remove_prefix(end == text.npos ? text.size() : end + 1);
  return line;
}

std::string_view next_word(std::string_view& line) {
  const auto start = line.find_first_not_of(" \t");
  line.remove_prefix(start == line.npos ? line.size() : start);
  const auto end = line.find_first_of(" \t");
  const auto word = line.substr(0, end);
  line.remove_prefix(end == line.npos ? line.size() : end);
  return word;
}

std::uint64_t number(std::string_view text, int base) {
  std::uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value, base);
  return value;
}

void read_status(std::string_view text, protocol::Facts& facts) {
  while (!text.empty()) {
    std::string_view line = next_line(text);
    const auto name = next_word(line), value = next_word(line);
    if (name == "CapInh:") facts.cap_inheritable = number(value, 16);
    else if (name == "CapPrm:") facts.cap_permitted = number(value, 16);
    else if (name == "CapEff:") facts.cap_effective = number(value, 16);
    else if (name == "CapBnd:") facts.cap_bounding = number(value, 16);
    else if (name == "CapAmb:") facts.cap_ambient = number(value, 16);
    else if (name == "NoNewPrivs:") facts.no_new_privs = value == "1";
    else if (name == "Seccomp:") facts.seccomp_mode = static_cast<std::uint32_t>(number(value, 10));
  }
}

void read_namespaces(protocol::Facts& facts) {
  for (const char* name : {"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"}) {
    const std::string path = std::string("/proc/self/ns/") + name;
    char target[64];
    const ssize_t size = ::readlink(path.c_str(), target, sizeof target);
    if (size > 0) facts.namespaces.push_back({name, std::string(target, static_cast<std::size_t>(size))});
  }
}

/// "36 35 98:0 /root /mount/point rw,noatime master:1 - ext4 /dev/root rw,errors=continue" (proc_pid_mountinfo(5)).
void read_mounts(protocol::Facts& facts) {
  const std::string mounts = read_all("/proc/self/mountinfo");
  for (std::string_view text = mounts; !text.empty();) {
    std::string_view line = next_line(text);
    for (int skipped = 0; skipped < 4; ++skipped) next_word(line);
    const auto point = next_word(line), options = next_word(line);
    while (!line.empty() && next_word(line) != "-") {
    }
    const auto type = next_word(line);
    if (type.empty() || facts.mounts.size() >= 256) continue;
    std::string value(type);
    value += ' ';
    value += options;
    facts.mounts.push_back({std::string(point), std::move(value)});
  }
}

void read_interfaces(protocol::Facts& facts) {
  const std::string devices = read_all("/proc/self/net/dev");
  for (std::string_view text = devices; !text.empty();) {
    std::string_view line = next_line(text);
    const auto colon = line.find(':');
    if (colon == line.npos || facts.interfaces.size() >= 256) continue;
    std::string_view name = line.substr(0, colon);
    facts.interfaces.emplace_back(next_word(name));
  }
}

/// Whether `path` may be written and really is procfs. Opening a sysctl costs six times as much as asking.
bool writable_in_proc(const char* path) {
  struct statfs info;
  return ::access(path, W_OK) == 0 && ::statfs(path, &info) == 0 && info.f_type == PROC_SUPER_MAGIC;
}

/// Whether `path` opens and really is procfs: a mask is another file mounted over it, and that may well open.
bool opens_in_proc(const char* path, int flags) {
  const core::UniqueFd file(::open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  struct statfs info;
  return file && ::fstatfs(file.get(), &info) == 0 && info.f_type == PROC_SUPER_MAGIC;
}

/// Whether a call that cannot succeed got as far as the kernel's own checks, instead of being refused at the door.
bool reaches(long result) {
  return result >= 0 || (errno != EPERM && errno != EACCES && errno != ENOSYS);
}

bool root_is_read_only(const protocol::Facts& facts) {
  // The last mount on a point is the one in effect.
  for (auto at = facts.mounts.rbegin(); at != facts.mounts.rend(); ++at) {
    if (at->key != "/") continue;
    const std::string_view options = std::string_view(at->value).substr(at->value.find(' ') + 1);
    return options == "ro" || options.starts_with("ro,");
  }
  return false;
}

void try_doors(protocol::Facts& facts) {
  const auto door = [&](const char* id, bool open) {
    if (open) facts.open_doors.emplace_back(id);
  };
  // 0x80000000 is no flag of unshare(2): without a filter the answer is EINVAL and nothing changed.
  door("unshare_user", reaches(::syscall(SYS_unshare, CLONE_NEWUSER | 0x80000000UL)));
  // CAP_SYS_ADMIN is checked before the file system's name (fs/namespace.c, path_mount).
  door("mount", reaches(::syscall(SYS_mount, "none", "/", "sandbox-no-such-fs", 0, nullptr)));
  {
    const core::UniqueFd own(::open("/proc/self/ns/uts", O_RDONLY | O_CLOEXEC));
    door("setns", own && ::syscall(SYS_setns, own.get(), CLONE_NEWUTS) == 0);
  }
  // The capability is checked before the length (kernel/sys.c).
  door("sethostname", reaches(::syscall(SYS_sethostname, "", -1)));
  door("sysrq", opens_in_proc("/proc/sysrq-trigger", O_WRONLY));
  door("kcore", opens_in_proc("/proc/kcore", O_RDONLY));
  door("sysctl_hostname", writable_in_proc("/proc/sys/kernel/hostname"));
  if (root_is_read_only(facts)) {
    const core::UniqueFd file(::open("/", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600));
    door("root_write", static_cast<bool>(file));
  }
  {
    const core::UniqueFd file(::open("/proc/self/exe", O_WRONLY | O_CLOEXEC));
    door("exe_write", static_cast<bool>(file));
  }
  // Arguments that no kernel accepts; where the call is filtered or needs a privilege the answer is EPERM or ENOSYS.
  door("bpf", reaches(::syscall(SYS_bpf, -1, nullptr, 0)));
  door("keyctl", reaches(::syscall(SYS_keyctl, -1, 0, 0, 0, 0)));
  door("perf_event", reaches(::syscall(SYS_perf_event_open, nullptr, 0, -1, -1, 0)));
  door("userfaultfd", reaches(::syscall(SYS_userfaultfd, -1)));
  door("io_uring", reaches(::syscall(SYS_io_uring_setup, 0, nullptr)));
  door("init_module", reaches(::syscall(SYS_init_module, nullptr, 0, nullptr)));
}

}  // namespace

std::string read_own_status() {
  std::string text(8192, '\0');
  const core::UniqueFd file(::open("/proc/self/status", O_RDONLY | O_CLOEXEC));
  // One record, so one read: a second one, to see the end, would make the kernel write it all again.
  const ssize_t count = file ? ::read(file.get(), text.data(), text.size()) : 0;
  text.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
  return text;
}

protocol::Facts collect_facts(std::string_view own_status) {
  protocol::Facts facts;
  read_status(own_status, facts);
  facts.pid = static_cast<std::uint32_t>(::getpid());
  facts.uid = ::getuid();
  facts.gid = ::getgid();
  facts.dumpable = ::prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 1;
  read_namespaces(facts);
  read_mounts(facts);
  read_interfaces(facts);
  try_doors(facts);
  return facts;
}

std::uint64_t ignored_signals(std::string_view text) {
  while (!text.empty()) {
    std::string_view line = next_line(text);
    if (next_word(line) == "SigIgn:") return number(next_word(line), 16);
  }
  return 0;
}

}  // namespace sandbox::agent
