#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>

/// Memory that much content is about to be copied into.
namespace sandbox::api {

/// Has the kernel back it with huge pages where it has some. Every small page costs a fault, several microseconds on a virtual
/// machine: 64 MiB of them take as long as bringing 64 MiB out of a sandbox. Before the memory is touched; of small memory nothing.
inline void expect_bulk(void* memory, std::size_t size) noexcept {
#ifdef MADV_HUGEPAGE
  constexpr std::uintptr_t kHuge = 2 << 20;
  const auto begin = (reinterpret_cast<std::uintptr_t>(memory) + kHuge - 1) & ~(kHuge - 1);
  const auto end = (reinterpret_cast<std::uintptr_t>(memory) + size) & ~(kHuge - 1);
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);  // a wish: failing is fine
#else
  static_cast<void>(memory), static_cast<void>(size);
#endif
}

}  // namespace sandbox::api
