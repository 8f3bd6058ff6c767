#pragma once

#include <cstddef>

namespace sandbox::simulation {

/// Bytes that operator new has given and operator delete has not taken back, in the whole program (memory.cpp replaces
/// both). Not thread-safe: a simulation is one thread.
std::size_t live_bytes() noexcept;

}  // namespace sandbox::simulation
