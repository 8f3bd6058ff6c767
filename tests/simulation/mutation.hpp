#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

/// Faults that no schedule may contain, put in to show that the checks see them: a simulation that cannot fail proves
/// nothing.
namespace sandbox::simulation {

enum class Mutation : std::uint8_t {
  none,
  drop_byte,            ///< one byte of the stream vanishes
  flip_data,            ///< one content byte of a DATA frame changes
  repeat_frame,         ///< a DATA or MESSAGE frame arrives twice
  drop_frame,           ///< a DATA, MESSAGE or END frame vanishes, its neighbours stay whole
  swap_frames,          ///< two reliable frames change places
  repeat_after_resume,  ///< RESUME claims one frame less than arrived, so that it is sent again
  skip_after_resume,    ///< RESUME claims one frame more than arrived, so that it is never sent
  late_bytes,           ///< a new transport begins with bytes of the one before
  invent_end,           ///< an END that no operation made
  withhold_credit,      ///< no CREDIT arrives
  run_twice,            ///< the agent runs a request again although its key is known
  never_end,            ///< an operation of the agent forgets to end
  hoard,                ///< the agent keeps a copy of whatever it is sent
};
inline constexpr Mutation kLastMutation = Mutation::hoard;

constexpr std::string_view name(Mutation mutation) noexcept {
  constexpr std::string_view kNames[] = {"none",       "drop_byte",   "flip_data",           "repeat_frame",
                                         "drop_frame", "swap_frames", "repeat_after_resume", "skip_after_resume",
                                         "late_bytes", "invent_end",  "withhold_credit",     "run_twice",
                                         "never_end",  "hoard"};
  return kNames[static_cast<std::size_t>(mutation)];
}

inline std::optional<Mutation> mutation_named(std::string_view text) noexcept {
  for (int i = 0; i <= static_cast<int>(kLastMutation); ++i)
    if (name(static_cast<Mutation>(i)) == text) return static_cast<Mutation>(i);
  return std::nullopt;
}

}  // namespace sandbox::simulation
