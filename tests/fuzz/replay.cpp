// Runs a fuzz target over its seeds, in every build: whole, cut off, and with every byte changed.
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>

#include <gtest/gtest.h>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

void run(const std::string& input) {
  // A copy of its exact size, so that AddressSanitizer sees a byte too far.
  const std::unique_ptr<std::uint8_t[]> copy(new std::uint8_t[input.size()]);
  input.copy(reinterpret_cast<char*>(copy.get()), input.size());
  LLVMFuzzerTestOneInput(copy.get(), input.size());
}

TEST(Corpus, ReplaysWithDamage) {
  const char* root = std::getenv("SANDBOX_SOURCE_DIR");
  std::ifstream corpus(std::string(root ? root : ".") + "/" CORPUS);
  ASSERT_TRUE(corpus) << CORPUS " not found; set SANDBOX_SOURCE_DIR";
  std::string line;
  int seeds = 0;
  while (std::getline(corpus, line)) {
    const auto space = line.find(' ');
    if (line.empty() || line[0] == '#' || space == std::string::npos) continue;
    std::string input;
    for (std::size_t i = space + 1; i + 1 < line.size(); i += 2) {
      input += static_cast<char>(std::stoi(line.substr(i, 2), nullptr, 16));
    }
    ++seeds;
    run(input);
    for (std::size_t i = 0; i < input.size(); ++i) {
      run(input.substr(0, i));
      for (const int change : {0x01, 0x80, 0xff}) {
        std::string damaged = input;
        damaged[i] = static_cast<char>(damaged[i] ^ change);
        run(damaged);
      }
    }
  }
  EXPECT_GT(seeds, 0);
}

}  // namespace
