#pragma once

#include <cstddef>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>

namespace sandbox::testing {

/// One of `of` equal parts of a long list of cases, so that a matrix can be run in pieces.
struct Share {
  std::size_t part = 1, of = 1;  ///< parts count from 1
  bool has(std::size_t index) const noexcept { return index % of == part - 1; }
};

/// "full" is everything, "3/8" the third of eight parts; nothing for an empty text. Throws std::invalid_argument for any other.
inline std::optional<Share> read_share(const std::string& text) {
  if (text.empty()) return std::nullopt;
  if (text == "full") return Share{};
  Share share{0, 0};
  char slash = 0;
  std::istringstream words(text);
  if (!(words >> share.part >> slash >> share.of) || slash != '/' || !words.eof() || share.part < 1 || share.part > share.of)
    throw std::invalid_argument("\"" + text + "\" is neither \"full\" nor a part such as \"3/8\"");
  return share;
}

}  // namespace sandbox::testing
