// simulate: the session core through many schedules. See tests/simulation/README.md.
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <string_view>

#include "simulation/world.hpp"

namespace {

using namespace sandbox;
using namespace sandbox::simulation;

constexpr std::string_view kUsage = R"(usage: simulate [--count N] [--seed N] [--mutation NAME] [--trace]

Runs N schedules (1000) of the session core, from --seed (1) upwards, and checks that no byte is lost or doubled, no
result invented, nothing run twice under one key, that every stream ends exactly once, and that nothing gets stuck.
Ends with 1 at the first failure and prints the seed that replays it: simulate --seed N --trace

  --mutation NAME   a fault that must be found: drop_byte, flip_data, repeat_frame, drop_frame, swap_frames,
                    repeat_after_resume, skip_after_resume, late_bytes, invent_end, withhold_credit, run_twice, never_end, hoard
  --trace           every step as a line; one schedule unless --count says otherwise
)";

[[noreturn]] void usage(int status) {
  (status ? std::cerr : std::cout) << kUsage;
  std::exit(status);
}

std::uint64_t number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) usage(2);
  return value;
}

}  // namespace

int main(int argc, char** argv) {
  std::uint64_t count = 0;
  Settings settings;
  for (int i = 1; i < argc; ++i) {
    const std::string_view option = argv[i];
    const auto value = [&] { return ++i < argc ? std::string_view(argv[i]) : (usage(2), std::string_view()); };
    if (option == "--count")
      count = number(value());
    else if (option == "--seed")
      settings.seed = number(value());
    else if (option == "--trace")
      settings.trace = &std::cout;
    else if (option == "--help")
      usage(0);
    else if (option == "--mutation") {
      const auto mutation = mutation_named(value());
      if (!mutation) usage(2);
      settings.mutation = *mutation;
    } else
      usage(2);
  }
  if (count == 0) count = settings.trace ? 1 : 1000;

  agent::Loop loop;
  Counters sum;
  std::size_t most_memory = 0;
  const auto start = std::chrono::steady_clock::now();
  for (; count > 0; --count, ++settings.seed) {
    const Outcome outcome = run(settings, loop);
    sum.add(outcome.counters);
    most_memory = std::max(most_memory, outcome.most_memory);
    if (!outcome.failure) continue;
    std::cout << "FAILED, seed " << settings.seed << ": " << *outcome.failure << "\nreplay: simulate --seed "
              << settings.seed
              << (settings.mutation == Mutation::none ? std::string()
                                                      : " --mutation " + std::string(name(settings.mutation)))
              << " --trace\n";
    return 1;
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::cout << sum.to_string() << " most_memory=" << most_memory << " seconds=" << seconds << '\n';
}
