#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <sandbox/result.hpp>

namespace sandbox::agent {

/// A compiled glob over relative paths: `*` any bytes of one name, `?` one character (a whole UTF-8 sequence, or one
/// byte that is none), `[a-z]` `[!a-z]` classes, `\` takes the next character literally, `**` as a whole component any
/// number of components. Names that begin with a dot are nothing special. Pure.
class Glob {
 public:
  /// Empty matches everything. Errors: invalid_argument (longer than 4095 bytes, more than 256 components, NUL, "..",
  /// a leading slash).
  static Result<Glob> compile(std::string_view pattern);

  bool matches(std::string_view path) const;
  /// Whether something below directory `path` could match: lets a search skip whole trees.
  bool may_match_below(std::string_view path) const;

 private:
  std::vector<bool> states_after(std::string_view path) const;
  std::vector<std::string> components_;  ///< empty: everything matches
};

/// One name against one component of a pattern.
bool match_name(std::string_view pattern, std::string_view name);

}  // namespace sandbox::agent
