#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "command.hpp"

namespace sbx {

/// One thing that may stand at the cursor.
struct Candidate {
  std::string word;
  std::string help;
};

struct Completion {
  std::vector<Candidate> candidates;
  Completes also = Completes::nothing;  ///< files or directories: the shell looks for them itself
};

/// Asks whoever knows for ids and names (sandboxes, templates, profiles); may be slow, may know nothing.
using Lookup = std::function<std::vector<Candidate>(Completes kind)>;

/// What may replace the last of `words` (which may be empty), after `sbx` and the words before it.
Completion complete(const CommandTable& table, const std::vector<Option>& common, const std::vector<std::string>& words,
                    const Lookup& lookup);

/// The script for "bash", "zsh" or "fish": it asks `sbx __complete` at every tab. Empty for another shell.
std::string_view completion_script(std::string_view shell);

}  // namespace sbx
