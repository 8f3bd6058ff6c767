// Runs a fuzz target over its seeds, in every build: whole, cut off, with every byte changed, and then for a moment with damage
// of chance (SANDBOX_FUZZ_SECONDS, default 1; SANDBOX_FUZZ_SEED, default 1). An input that ends the program is printed as a line
// for corpus.txt.
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

constexpr std::size_t kMaxInput = 1 << 16;
std::string current;

/// Only what a signal handler may do (signal-safety(7)).
void tell(int signal) {
  static char line[2 * kMaxInput + 16] = "found ";
  std::size_t size = 6;
  for (std::size_t i = 0; i < current.size() && i < kMaxInput; ++i) {
    for (const int shift : {4, 0}) line[size++] = "0123456789abcdef"[static_cast<unsigned char>(current[i]) >> shift & 15];
  }
  line[size++] = '\n';
  if (::write(2, line, size) < 0) ::_exit(3);
  ::signal(signal, SIG_DFL);
  ::raise(signal);
}

void run(const std::string& input) {
  // A copy of its exact size, so that AddressSanitizer sees a byte too far.
  const std::unique_ptr<std::uint8_t[]> copy(new std::uint8_t[input.size()]);
  input.copy(reinterpret_cast<char*>(copy.get()), input.size());
  current = input;
  LLVMFuzzerTestOneInput(copy.get(), input.size());
}

class Corpus : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL}) ::signal(signal, tell);
    const char* root = std::getenv("SANDBOX_SOURCE_DIR");
    std::ifstream corpus(std::string(root ? root : ".") + "/" CORPUS);
    ASSERT_TRUE(corpus) << CORPUS " not found; set SANDBOX_SOURCE_DIR";
    std::string line;
    while (std::getline(corpus, line)) {
      const auto space = line.find(' ');
      if (line.empty() || line[0] == '#' || space == std::string::npos) continue;
      std::string& input = seeds.emplace_back();
      for (std::size_t i = space + 1; i + 1 < line.size(); i += 2) {
        input += static_cast<char>(std::stoi(line.substr(i, 2), nullptr, 16));
      }
    }
    ASSERT_FALSE(seeds.empty());
  }
  std::vector<std::string> seeds;
};

TEST_F(Corpus, ReplaysWithDamage) {
  for (const std::string& input : seeds) {
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
}

double setting(const char* name, double otherwise) {
  const char* text = std::getenv(name);
  return text ? std::atof(text) : otherwise;
}

TEST_F(Corpus, TakesDamageOfChance) {
  std::mt19937_64 random(static_cast<std::uint64_t>(setting("SANDBOX_FUZZ_SEED", 1)));
  const auto below = [&random](std::size_t bound) { return bound == 0 ? 0 : static_cast<std::size_t>(random() % bound); };
  const auto until = std::chrono::steady_clock::now() + std::chrono::duration<double>(setting("SANDBOX_FUZZ_SECONDS", 1));
  std::uint64_t runs = 0;
  std::vector<std::string> made = seeds;   // mutants of mutants, so that damage adds up
  for (; runs == 0 || std::chrono::steady_clock::now() < until; ++runs) {
    std::string input = made[below(made.size())];
    for (std::size_t changes = 1 + below(6); changes > 0; --changes) {
      const std::size_t at = below(input.size() + 1);
      const std::string& other = made[below(made.size())];
      switch (below(8)) {
        case 0: if (at < input.size()) input[at] = static_cast<char>(random()); break;
        case 1: if (at < input.size()) input[at] = static_cast<char>(input[at] ^ 1 << below(8)); break;
        case 2: input.insert(at, 1 + below(8), static_cast<char>(random())); break;
        case 3: input.erase(at, 1 + below(8)); break;
        case 4: input.insert(at, other.substr(below(other.size()), 1 + below(64))); break;
        case 5: input.insert(at, input.substr(below(input.size() + 1), 1 + below(64))); break;
        case 6: input = input.substr(0, at) + other.substr(std::min(at, other.size())); break;
        default: {
          static constexpr unsigned char kNumbers[] = {0, 1, 0x7f, 0x80, 0xff, '\n', '\r', '/', '.', '"', '0', '9'};
          if (at < input.size()) input[at] = static_cast<char>(kNumbers[below(sizeof kNumbers)]);
        }
      }
    }
    if (input.size() > kMaxInput) input.resize(kMaxInput);
    run(input);
    if (made.size() < seeds.size() + 500) made.push_back(std::move(input));
    else if (below(50) == 0) made[seeds.size() + below(500)] = std::move(input);
  }
  RecordProperty("runs", std::to_string(runs));
  std::printf("%llu inputs\n", static_cast<unsigned long long>(runs));
}

}  // namespace
