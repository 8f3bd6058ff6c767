#pragma once

#include <string>

#include <sandbox/result.hpp>

#include "agent/fs_support.hpp"
#include "agent/v1/paths.hpp"

namespace sandbox::agent::v1 {

/// A regular file being written: it gets its name, and replaces what has it, only when it is complete.
class Sink {
 public:
  /// Makes missing parents (0755). `mode`: of a file that does not exist yet; an existing one keeps its own unless `force`.
  /// Errors carry the text to answer with: "create parent dirs: …" or "write file: …".
  Result<void> open(const Located& target, mode_t mode, bool force);
  Result<void> write(std::string_view bytes);
  Result<void> commit();
  void discard() noexcept;
  explicit operator bool() const noexcept { return static_cast<bool>(file_); }

 private:
  NewFile file_;
  std::string name_, shown_;
  mode_t mode_ = 0;
};

}  // namespace sandbox::agent::v1
