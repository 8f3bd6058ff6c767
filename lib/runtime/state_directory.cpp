#include "runtime/state_directory.hpp"

#include <pwd.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <system_error>

namespace sandbox::runtime {
namespace {

std::string chosen(const RuntimeOptions& options) {
  if (!options.state_directory().empty()) return options.state_directory();
  if (const char* set = std::getenv("SANDBOX_STATE_DIR"); set != nullptr && *set != '\0') return set;
  if (::geteuid() == 0) return "/var/lib/sandbox";
  const char* home = std::getenv("HOME");
  if (home == nullptr || *home == '\0') {
    const passwd* user = ::getpwuid(::geteuid());
    home = user != nullptr ? user->pw_dir : "/tmp";
  }
  return std::string(home) + "/.local/share/sandbox";
}

}  // namespace

std::string state_directory(const RuntimeOptions& options) {
  std::string path = chosen(options);
  std::error_code unknown;
  const auto absolute = std::filesystem::absolute(path, unknown);
  return unknown ? path : absolute.string();
}

}  // namespace sandbox::runtime
