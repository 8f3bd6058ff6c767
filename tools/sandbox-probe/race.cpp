// Swaps a directory with links, over and over, while the host works on the same paths.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "probe.hpp"

namespace probe {
namespace {

bool exchange(const std::string& a, const std::string& b) {
  return ::syscall(SYS_renameat2, AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), 2 /* EXCHANGE */) == 0;
}

bool write_file(const std::string& path, const char* text) {
  const int fd = ::open(path.c_str(), O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0644);
  const bool ok = fd >= 0 && ::write(fd, text, ::strlen(text)) > 0;
  if (fd >= 0) ::close(fd);
  return ok;
}

}  // namespace

int race(const std::string& directory, const std::string& outside_path) {
  // x is now a directory, now a link out; x/f likewise a file and a link.
  const std::string places[] = {directory + "/link-absolute", directory + "/link-relative", directory + "/link-magic-root",
                                directory + "/link-magic-agent", directory + "/link-magic-fd"};
  const std::string targets[] = {outside_path, "../../../../../../../.." + outside_path, "/proc/self/root" + outside_path,
                                 "/proc/1/root" + outside_path, "/proc/self/fd/0/../../.." + outside_path};
  ::mkdir(directory.c_str(), 0755);
  const std::string x = directory + "/x", file = directory + "/f", link = directory + "/f-link";
  ::mkdir(x.c_str(), 0755);
  if (!write_file(x + "/f", "inside\n") || !write_file(file, "inside\n")) return std::perror("sandbox-probe: race"), 1;
  ::symlink((outside_path + "/f").c_str(), link.c_str());
  for (int i = 0; i < 5; ++i) ::symlink(targets[i].c_str(), places[i].c_str());
  std::printf("ready\n");
  std::fflush(stdout);
  unsigned long rounds = 0;
  for (unsigned i = 0;; ++i) {
    if (exchange(x, places[i % 5])) ++rounds;
    if (exchange(file, link)) ++rounds;
    if (exchange(x, places[i % 5])) ++rounds;
    if (exchange(file, link)) ++rounds;
    // The host's writes and removals may have taken a piece away: put it back and go on.
    if (i % 64 == 0) {
      ::mkdir(x.c_str(), 0755);
      for (int k = 0; k < 5; ++k) ::symlink(targets[k].c_str(), places[k].c_str());
      if (::access(file.c_str(), F_OK) != 0 && errno == ENOENT) write_file(file, "inside\n");
      ::symlink((outside_path + "/f").c_str(), link.c_str());
      pollfd input{0, POLLIN, 0};
      char byte;
      if (::poll(&input, 1, 0) == 1 && ::read(0, &byte, 1) <= 0) break;
    }
  }
  std::printf("%lu\n", rounds);
  return 0;
}

}  // namespace probe
