#include "payload.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>
#include <sys/mman.h>
#include <unistd.h>

#include "scenario.hpp"

namespace bench {

double mib_per_s(std::uint64_t bytes, Clock::duration time) {
  return static_cast<double>(bytes) / static_cast<double>(kMiB) / std::chrono::duration<double>(time).count();
}

std::vector<std::byte> pattern() {
  std::vector<std::byte> bytes(kMiB);
  std::uint32_t state = 1;
  for (auto& byte : bytes) byte = static_cast<std::byte>((state = state * 1664525u + 1013904223u) >> 24);
  return bytes;
}

sandbox::ByteSource repeat(const std::vector<std::byte>& bytes, std::uint64_t total) {
  return [&bytes, total, done = std::uint64_t{0}](std::span<std::byte> buffer) mutable -> sandbox::Result<std::size_t> {
    const auto offset = static_cast<std::size_t>(done % bytes.size());
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>({total - done, buffer.size(), bytes.size() - offset}));
    std::memcpy(buffer.data(), bytes.data() + offset, count);
    done += count;
    return count;
  };
}

std::pair<double, double> memory_file(const std::vector<std::byte>& bytes, std::uint64_t total) {
  const int file = ::memfd_create("bench", MFD_CLOEXEC);
  if (file < 0) throw std::runtime_error("memfd_create failed");
  std::vector<std::byte> buffer(kMiB);
  bool good = true;
  const auto in = timed([&] {
    for (std::uint64_t done = 0; done < total; done += kMiB) good &= ::write(file, bytes.data(), kMiB) == static_cast<ssize_t>(kMiB);
  });
  ::lseek(file, 0, SEEK_SET);
  const auto out = timed([&] {
    for (std::uint64_t done = 0; done < total; done += kMiB) good &= ::read(file, buffer.data(), kMiB) == static_cast<ssize_t>(kMiB);
  });
  ::close(file);
  if (!good) throw std::runtime_error("the memory file could not hold " + std::to_string(total) + " bytes");
  return {mib_per_s(total, in), mib_per_s(total, out)};
}

sandbox::SandboxSpec roomy_spec() {
  auto spec = base_spec();
  spec.limits(sandbox::Limits().memory(sandbox::ByteCount::gib(3)).disk(sandbox::ByteCount::gib(2)));
  return spec;
}

}  // namespace bench
