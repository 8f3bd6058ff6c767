#pragma once

#include <cstdint>
#include <utility>

#include <sandbox/bytes.hpp>

namespace sandbox {

/// What one sandbox may use. Every limit is enforced by the kernel; where this host cannot enforce one, creation fails
/// and names it (see allow::unenforced_limits). Zero is never "unlimited": it is refused.
class Limits {
 public:
  Limits() = default;

  /// RAM of all processes and of the writable file systems together (they are tmpfs). Default 512 MiB, at least 8 MiB.
  Limits& memory(ByteCount amount) & { return memory_ = amount, *this; }
  Limits&& memory(ByteCount amount) && { return std::move(memory(amount)); }
  /// CPU cores' worth of time, 0.01 … number of cores. Default 1.
  Limits& cpus(double cores) & { return cpus_ = cores, *this; }
  Limits&& cpus(double cores) && { return std::move(cpus(cores)); }
  /// Processes and threads, the agent included. Default 256.
  Limits& pids(std::uint32_t count) & { return pids_ = count, *this; }
  Limits&& pids(std::uint32_t count) && { return std::move(pids(count)); }
  /// Open files of one process (RLIMIT_NOFILE). Default 1024.
  Limits& open_files(std::uint32_t count) & { return open_files_ = count, *this; }
  Limits&& open_files(std::uint32_t count) && { return std::move(open_files(count)); }
  /// Bytes in all writable directories together (/root, /tmp, /dev/shm, and / when writable). Default 256 MiB.
  Limits& disk(ByteCount amount) & { return disk_ = amount, *this; }
  Limits&& disk(ByteCount amount) && { return std::move(disk(amount)); }
  /// Files and directories in them. Default 65536.
  Limits& inodes(std::uint64_t count) & { return inodes_ = count, *this; }
  Limits&& inodes(std::uint64_t count) && { return std::move(inodes(count)); }

  ByteCount memory() const noexcept { return memory_; }
  double cpus() const noexcept { return cpus_; }
  std::uint32_t pids() const noexcept { return pids_; }
  std::uint32_t open_files() const noexcept { return open_files_; }
  ByteCount disk() const noexcept { return disk_; }
  std::uint64_t inodes() const noexcept { return inodes_; }
  bool operator==(const Limits&) const = default;

 private:
  ByteCount memory_ = ByteCount::mib(512);
  double cpus_ = 1.0;
  std::uint32_t pids_ = 256;
  std::uint32_t open_files_ = 1024;
  ByteCount disk_ = ByteCount::mib(256);
  std::uint64_t inodes_ = 65536;
};

}  // namespace sandbox
