#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "probe.hpp"

namespace probe {

bool outside = false;
pid_t target = 1;
int inherited_descriptors = 0;
volatile std::uint64_t* reached = nullptr;

Seen blocked(const std::string& what) { return {Verdict::blocked, what + ": " + ::strerror(errno)}; }
Seen blocked_text(std::string what) { return {Verdict::blocked, std::move(what)}; }
Seen open_door(std::string what) { return {Verdict::open, std::move(what)}; }
Seen skipped(std::string what) { return {Verdict::skipped, std::move(what)}; }
Seen verdict(long result, const std::string& what) { return result < 0 ? blocked(what) : open_door(what + " worked"); }

Seen reaches(long result, const std::string& what) {
  if (result < 0 && (errno == EPERM || errno == EACCES || errno == ENOSYS)) return blocked(what);
  return open_door(what + " reached the kernel's own checks" + (result < 0 ? std::string(": ") + ::strerror(errno) : std::string()));
}

Seen would_be_permitted(int capability, const char* name, const std::string& what) {
  unsigned long long effective = 0;
  if (!status_line("CapEff:", 16, effective)) return skipped("no /proc/self/status");
  unsigned inside_first = 1, outside_first = 1;
  const std::string map = read_text("/proc/self/uid_map");
  const char* text = map.c_str();
  char* end = nullptr;
  inside_first = static_cast<unsigned>(::strtoul(text, &end, 10));
  outside_first = static_cast<unsigned>(::strtoul(end, nullptr, 10));
  if ((effective >> capability & 1) == 0) return blocked_text(what + ": this process has no " + name);
  if (inside_first != outside_first) return blocked_text(what + ": " + name + " holds in a user namespace only");
  return open_door(what + " would be permitted (" + name + "); not done, by design");
}

Seen opens(const char* path, int flags) {
  const int fd = ::open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  if (fd < 0) return blocked(std::string("open ") + path);
  ::close(fd);
  return open_door(std::string("open ") + path + " worked");
}

Seen any_opens(std::span<const char* const> paths, int flags, const std::string& what) {
  for (const char* path : paths) {
    Seen seen = opens(path, flags);
    if (seen.verdict == Verdict::open) return seen;
  }
  return blocked_text(what + ": none of " + std::to_string(paths.size()) + " opens");
}

std::string read_text(const char* path) {
  std::string text;
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return text;
  constexpr std::size_t kLimit = 1 << 20;
  char piece[4096];
  for (ssize_t size; text.size() < kLimit && (size = ::read(fd, piece, sizeof piece)) > 0;)
    text.append(piece, static_cast<std::size_t>(size));
  ::close(fd);
  return text;
}

bool status_line(const char* key, int base, unsigned long long& value) {
  const std::string text = read_text("/proc/self/status");
  const std::size_t at = text.find(std::string("\n") + key);
  if (at == text.npos) return false;
  value = ::strtoull(text.c_str() + at + 1 + ::strlen(key), nullptr, base);
  return true;
}

Seen in_child(Seen (*body)()) {
  int pipe_ends[2];
  if (::pipe2(pipe_ends, O_CLOEXEC) != 0) return skipped(std::string("pipe: ") + ::strerror(errno));
  const pid_t pid = ::fork();
  if (pid == 0) {
    const Seen seen = body();
    const std::string line = std::string(1, static_cast<char>('0' + static_cast<int>(seen.verdict))) + seen.detail;
    (void)!::write(pipe_ends[1], line.data(), line.size());
    ::_exit(0);
  }
  ::close(pipe_ends[1]);
  std::string line;
  char piece[512];
  for (ssize_t size; (size = ::read(pipe_ends[0], piece, sizeof piece)) > 0;) line.append(piece, static_cast<std::size_t>(size));
  ::close(pipe_ends[0]);
  int status = 0;
  if (pid > 0) ::waitpid(pid, &status, 0);
  if (pid < 0) return skipped("fork");
  if (WIFSIGNALED(status)) return blocked_text("ended by signal " + std::to_string(WTERMSIG(status)));
  if (line.empty()) return skipped("no answer");
  return {static_cast<Verdict>(line[0] - '0'), line.substr(1)};
}

}  // namespace probe
