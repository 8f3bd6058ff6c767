#pragma once

#include <stdlib.h>

#include <filesystem>
#include <stdexcept>
#include <string>

namespace sandbox::testing {

/// A directory of a test's own, removed with everything in it at the end.
class StateDirectory {
 public:
  StateDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "sandbox-test-XXXXXX").string();
    if (!::mkdtemp(pattern.data())) throw std::runtime_error("no scratch directory");
    path_ = pattern;
  }
  ~StateDirectory() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  StateDirectory(const StateDirectory&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace sandbox::testing
