#pragma once

#include <cstdint>
#include <iosfwd>
#include <optional>
#include <string>

#include "agent/loop.hpp"
#include "simulation/ledger.hpp"

namespace sandbox::simulation {

struct Settings {
  std::uint64_t seed = 1;
  Mutation mutation = Mutation::none;
  std::ostream* trace = nullptr;   ///< every step as a line
};

struct Outcome {
  std::optional<std::string> failure;
  Counters counters;
  std::uint64_t fingerprint = 0;   ///< of everything that happened, in order
  std::size_t most_memory = 0;     ///< bytes, above what was live before
};

/// Bytes a schedule may hold at any time: send queues of a few streams both ways, what is kept for a resume, and the wires.
inline constexpr std::size_t kMaxMemory = 8 << 20;

/// Runs the schedule of `settings.seed`: first chaos (every step and fault by chance), then calm, in which the network lets
/// everything through and whatever can end must end; then everything is taken down and nothing may be left.
/// `loop` has nothing registered and is used for that schedule alone.
Outcome run(const Settings& settings, agent::Loop& loop);

}  // namespace sandbox::simulation
