#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <sandbox/result.hpp>

namespace sandbox::agent {

/// Variables in the form execve(2) wants: "NAME=value", unique names, in order of first appearance.
class Environment {
 public:
  Environment() = default;
  /// From a null-terminated array; entries without '=' are skipped, later duplicates win.
  static Environment from(const char* const* entries);

  std::optional<std::string_view> find(std::string_view name) const noexcept;
  /// Errors: invalid_argument (empty name, '=' or NUL in the name, NUL in the value), resource_exhausted (more than
  /// protocol::kMaxArguments variables or protocol::kMaxRequest bytes together).
  Result<void> set(std::string_view name, std::string_view value);
  /// Unknown names are fine.
  void unset(std::string_view name);

  const std::vector<std::string>& entries() const noexcept { return entries_; }
  /// Pointers to the entries and a terminating null. Valid until the next change.
  std::vector<char*> pointers() const;

 private:
  std::string* entry(std::string_view name) noexcept;
  std::vector<std::string> entries_;
  std::size_t bytes_ = 0;
};

}  // namespace sandbox::agent
