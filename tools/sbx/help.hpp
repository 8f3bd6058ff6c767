#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "command.hpp"

namespace sbx {

/// The overview (`path` empty), one group, or one command with its options and examples; lines of at most `width` columns.
std::string help_text(const CommandTable& table, const std::vector<Option>& common, std::string_view path, std::size_t width);

/// "sbx fs read [options] ID PATH"
std::string usage_line(const Command& command);

}  // namespace sbx
