#pragma once

#include <optional>
#include <string>

#include "core/unique_fd.hpp"

namespace sandboxd {

/// Tells when a file was written or another put in its place. It is the directory that is watched, since a rename over the
/// file makes it another one.
class FileWatch {
 public:
  /// Nothing when the directory cannot be watched.
  static std::optional<FileWatch> on(const std::string& path);
  /// Readable (poll) when something happened.
  int fd() const noexcept { return inotify_.get(); }
  /// Takes what happened; whether any of it was about the file.
  bool drain();

 private:
  FileWatch(sandbox::core::UniqueFd inotify, std::string name) : inotify_(std::move(inotify)), name_(std::move(name)) {}
  sandbox::core::UniqueFd inotify_;
  std::string name_;
};

}  // namespace sandboxd
