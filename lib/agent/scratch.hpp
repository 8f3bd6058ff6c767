#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <span>

/// A large I/O buffer that costs no memory while idle: an agent has to fit into 192 KiB.
namespace sandbox::agent {

/// One anonymous mapping made at first use. Contents last until the next turn of the loop at most; every user of the
/// same Scratch overwrites them. Not thread-safe.
class Scratch {
 public:
  explicit Scratch(std::size_t size) noexcept : size_(size) {}
  Scratch(const Scratch&) = delete;
  ~Scratch() {
    if (memory_) ::munmap(memory_, size_);
  }

  /// The whole buffer; empty when the kernel has no memory for it.
  std::span<std::byte> span() noexcept {
    if (!memory_) {
      void* memory = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      if (memory == MAP_FAILED) return {};
      memory_ = static_cast<std::byte*>(memory);
    }
    return {memory_, size_};
  }
  /// Says that the first `size` bytes were written to, so that trim() knows what there is to give back.
  void touched(std::size_t size) noexcept { touched_ = std::max(touched_, size); }
  /// Gives the touched pages back to the kernel. Does nothing when little was used: the call costs more than it saves.
  void trim() noexcept {
    constexpr std::size_t kWorthIt = 16 << 10;
    if (touched_ <= kWorthIt) return;
    ::madvise(memory_, size_, MADV_DONTNEED);
    touched_ = 0;
  }

 private:
  std::size_t size_;
  std::byte* memory_ = nullptr;
  std::size_t touched_ = 0;
};

}  // namespace sandbox::agent
