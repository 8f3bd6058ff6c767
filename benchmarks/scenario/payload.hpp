#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include <sandbox/fs.hpp>
#include <sandbox/spec.hpp>

#include "report.hpp"

/// What is moved through sandboxes, and what moving it costs the kernel alone.
namespace bench {

inline constexpr std::uint64_t kMiB = 1 << 20;

double mib_per_s(std::uint64_t bytes, Clock::duration time);
/// 1 MiB that does not compress.
std::vector<std::byte> pattern();
/// Gives `total` bytes of `bytes`, repeated. `bytes` must outlive it.
sandbox::ByteSource repeat(const std::vector<std::byte>& bytes, std::uint64_t total);
/// MiB/s of write(2) of `total` bytes to a new memory file in 1 MiB pieces, then of read(2) of all of it: the floor each way.
std::pair<double, double> memory_file(const std::vector<std::byte>& bytes, std::uint64_t total);
/// Room for a GiB in /root.
sandbox::SandboxSpec roomy_spec();

}  // namespace bench
