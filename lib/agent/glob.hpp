#pragma once

#include <cstddef>
#include <cstdint>
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

  class Trail;

 private:
  std::vector<std::string> components_;  ///< empty: everything matches
};

/// Matches along a depth-first walk: an entry costs its own name, however deep it lies. Holds (components + 1) bits a level.
class Glob::Trail {
 public:
  /// `glob` must outlive the trail.
  explicit Trail(const Glob& glob);

  /// Goes on to entry `name` at `depth`, 1 for entries of the root. The entry looked at last at `depth` - 1 is its directory.
  void look(std::size_t depth, std::string_view name);
  bool matches() const noexcept;           ///< the entry looked at last
  bool may_match_below() const noexcept;   ///< as Glob's, of the entry looked at last
  /// Components of the pattern that were compared with a name so far: what the search has cost.
  std::uint64_t steps() const noexcept { return steps_; }

 private:
  std::uint64_t* states(std::size_t depth) noexcept { return states_.data() + depth * words_; }
  void skip_stars(std::uint64_t* states) const noexcept;

  const Glob& glob_;
  std::size_t words_;   ///< of one level
  std::size_t depth_ = 0;
  /// Bit i of a level: the first i components of the pattern are used up there.
  std::vector<std::uint64_t> states_;
  std::uint64_t steps_ = 0;
};

/// One name against one component of a pattern.
bool match_name(std::string_view pattern, std::string_view name);

}  // namespace sandbox::agent
