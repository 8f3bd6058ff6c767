#pragma once

#include <cstdint>

#include <sandbox/result.hpp>

#include "core/unique_fd.hpp"

/// Pseudo-terminals. Guest-safe.
namespace sandbox::os {

/// Both ends of one terminal.
struct Pty {
  core::UniqueFd master;   ///< O_CLOEXEC, O_NONBLOCK; reading gives EIO when the last slave was closed
  core::UniqueFd slave;    ///< O_CLOEXEC, O_NOCTTY; becomes fd 0–2 of a program
};

/// A new terminal of `rows` × `columns` cells from the devpts at /dev/pts.
/// Errors: not_found or unsupported (no devpts here), resource_exhausted (too many terminals or descriptors).
Result<Pty> open_pty(std::uint16_t rows, std::uint16_t columns);

/// Changes the size; the foreground group gets SIGWINCH when it differs.
Result<void> resize_pty(int master, std::uint16_t rows, std::uint16_t columns);

}  // namespace sandbox::os
