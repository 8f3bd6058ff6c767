#pragma once

#include <cstdlib>
#include <fstream>
#include <map>
#include <string>

#include <gtest/gtest.h>

#include "core/text.hpp"

/// The test vectors of docs/PROTOCOL.md: blocks that begin with "```hex name" and hold hexadecimal digits, spaces and
/// "# comments".
namespace sandbox::test {

inline std::map<std::string, std::string> protocol_vectors() {
  const char* root = std::getenv("SANDBOX_SOURCE_DIR");
  std::ifstream document(std::string(root ? root : ".") + "/docs/PROTOCOL.md");
  EXPECT_TRUE(document) << "docs/PROTOCOL.md not found; set SANDBOX_SOURCE_DIR";
  std::map<std::string, std::string> vectors;
  std::string line, name, digits;
  bool inside = false;
  while (std::getline(document, line)) {
    if (!inside && line.rfind("```hex ", 0) == 0) {
      inside = true;
      name = line.substr(7);
      digits.clear();
    } else if (inside && line == "```") {
      inside = false;
      std::string bytes;
      EXPECT_EQ(digits.size() % 2, 0u) << name;
      for (std::size_t i = 0; i + 1 < digits.size(); i += 2) {
        bytes += static_cast<char>(std::stoi(digits.substr(i, 2), nullptr, 16));
      }
      EXPECT_TRUE(vectors.emplace(name, bytes).second) << "twice: " << name;
    } else if (inside) {
      for (const char c : line.substr(0, line.find('#'))) {
        if (c != ' ') digits += c;
      }
    }
  }
  return vectors;
}

inline std::string hex(std::string_view bytes) { return core::to_hex(bytes.data(), bytes.size()); }

}  // namespace sandbox::test
