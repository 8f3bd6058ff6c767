#pragma once

#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

namespace sandbox::fuzz {

/// A directory of this process, in memory where there is some; removed at the end.
class Scratch {
 public:
  Scratch() : path_(::access("/dev/shm", W_OK) == 0 ? "/dev/shm/sandbox-fuzz-XXXXXX" : "/tmp/sandbox-fuzz-XXXXXX") {
    if (!::mkdtemp(path_.data())) std::abort();
  }
  Scratch(const Scratch&) = delete;
  ~Scratch() { clear(path_); }
  const std::string& path() const { return path_; }

  /// Removes a tree, also one whose directories forbid it.
  static void clear(const std::string& path) {
    ::nftw(
        path.c_str(),
        [](const char* name, const struct stat* status, int, FTW*) {
          if (S_ISDIR(status->st_mode)) ::chmod(name, 0700);  // never through a link, which may lead anywhere
          return ::remove(name);
        },
        16, FTW_DEPTH | FTW_PHYS);
  }

 private:
  std::string path_;
};

}  // namespace sandbox::fuzz
