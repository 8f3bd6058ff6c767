#include "child_slots.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <iterator>
#include <utility>

namespace sandbox::launcher {

ChildSlots::Slot* ChildSlots::acquire() {
  if (free_.empty()) {
    auto slot = std::make_unique<Slot>();
    // A page without access below the stack turns an overflow into a crash.
    char* memory = static_cast<char*>(::mmap(nullptr, kChildStack + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0));
    if (memory == MAP_FAILED) return nullptr;
    ::mprotect(memory, 4096, PROT_NONE);
    slot->stack = memory + 4096 + kChildStack;
    free_.push_back(slot.get());
    all_.push_back(std::move(slot));
  }
  Slot* slot = free_.back();
  free_.pop_back();
  used_.push_back(slot);
  ChildState& state = slot->state;
  state.go.store(0);
  state.own_files.store(0);
  state.failed.store(0);
  state.operation = state.detail = nullptr;
  std::fill(std::begin(state.timings), std::end(state.timings), 0u);
  return slot;
}

}  // namespace sandbox::launcher
