#pragma once

#include <string>
#include <vector>

#include <sandbox/result.hpp>

#include "command.hpp"

namespace sbx {

/// What the words of the command line ask for.
struct Request {
  const Command* command = nullptr;  ///< null: help
  std::string help;                  ///< with a null command: "" for the overview, a group, or a command's path
  bool nothing_said = false;         ///< no words at all
  int usage_code = kUsage;
};

/// Finds the command in `words` and fills the targets of its options and of `common` (one set of targets for all commands).
/// Accepted: `--name VALUE`, `--name=VALUE`, the same with one dash, `-xVALUE`, `-xyz` for flags; options before, between and
/// after positional arguments and, for the common ones, before the command; `--` ends options. In a command that takes a
/// program, options end at the program's first word.
/// Errors: invalid_argument, a line that says what would be right; `request.usage_code` is the exit code for it.
sandbox::Result<void> parse_arguments(const CommandTable& table, const std::vector<Option>& common, const std::vector<std::string>& words,
                                      Request& request);

/// The candidate nearest to `word` when it looks like a slip of the fingers, or "".
std::string nearest(const std::string& word, const std::vector<std::string>& candidates);

}  // namespace sbx
