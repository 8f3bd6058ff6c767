#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <new>

#include <sandbox/bytes.hpp>

#include "protocol/frame.hpp"

/// Memory of the frames that a session sends.
namespace sandbox::session {

/// One frame to be sent, in one block of memory: room for the header, then up to `capacity` payload bytes.
struct Chunk {
  Chunk* next = nullptr;
  std::uint32_t capacity = 0;
  std::uint32_t size = 0;       // payload bytes
  std::uint32_t raw_size = 0;   // content bytes it stands for (differs from size when compressed)
  std::uint64_t offset = 0;     // of its first content byte
  bool fin = false;
  bool compressed = false;
  bool final_form = false;      // compression was tried; takes no more content

  std::byte* wire() noexcept { return reinterpret_cast<std::byte*>(this + 1); }
  std::byte* payload() noexcept { return wire() + protocol::kFrameHeader; }
  ByteView frame() noexcept { return {wire(), protocol::kFrameHeader + size}; }
};

/// Keeps a few blocks of three sizes, so that steady transfer neither allocates nor faults pages in.
class ChunkPool {
 public:
  explicit ChunkPool(std::uint32_t largest) : sizes_{1004, 16384, std::max<std::uint32_t>(largest, 16384)} {}
  ~ChunkPool() { trim(); }
  ChunkPool(const ChunkPool&) = delete;

  Chunk* get(std::size_t capacity) {
    for (std::size_t i = 0; i < 3; ++i) {
      if (capacity > sizes_[i]) continue;
      if (Chunk* chunk = free_[i]) {
        free_[i] = chunk->next;
        --count_[i];
        return new (chunk) Chunk{.capacity = sizes_[i]};
      }
      return make(sizes_[i]);
    }
    return make(capacity);
  }
  void put(Chunk* chunk) noexcept {
    for (std::size_t i = 0; i < 3; ++i) {
      if (chunk->capacity != sizes_[i] || count_[i] >= kKept) continue;
      chunk->next = free_[i];
      free_[i] = chunk;
      ++count_[i];
      return;
    }
    ::operator delete(chunk);
  }
  /// Gives everything back; for a session without streams.
  void trim() noexcept {
    for (std::size_t i = 0; i < 3; ++i) {
      while (Chunk* chunk = free_[i]) {
        free_[i] = chunk->next;
        ::operator delete(chunk);
      }
      count_[i] = 0;
    }
  }

 private:
  static constexpr std::size_t kKept = 4;
  static Chunk* make(std::size_t capacity) {
    void* memory = ::operator new(sizeof(Chunk) + protocol::kFrameHeader + capacity);
    return new (memory) Chunk{.capacity = static_cast<std::uint32_t>(capacity)};
  }
  std::uint32_t sizes_[3];
  Chunk* free_[3] = {};
  std::size_t count_[3] = {};
};

}  // namespace sandbox::session
