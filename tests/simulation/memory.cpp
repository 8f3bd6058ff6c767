#include "simulation/memory.hpp"

#include <malloc.h>

#include <cstdlib>
#include <new>

namespace {
std::size_t live = 0;

void* take(std::size_t size) {
  void* memory = std::malloc(size == 0 ? 1 : size);
  if (!memory) throw std::bad_alloc();
  live += ::malloc_usable_size(memory);
  return memory;
}

void give(void* memory) noexcept {
  if (!memory) return;
  live -= ::malloc_usable_size(memory);
  std::free(memory);
}
}  // namespace

namespace sandbox::simulation {
std::size_t live_bytes() noexcept { return live; }
}  // namespace sandbox::simulation

void* operator new(std::size_t size) { return take(size); }
void* operator new[](std::size_t size) { return take(size); }
void operator delete(void* memory) noexcept { give(memory); }
void operator delete[](void* memory) noexcept { give(memory); }
void operator delete(void* memory, std::size_t) noexcept { give(memory); }
void operator delete[](void* memory, std::size_t) noexcept { give(memory); }
