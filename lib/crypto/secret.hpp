#pragma once

#include <cstddef>
#include <span>

#include <sandbox/bytes.hpp>
#include <sandbox/result.hpp>

namespace sandbox::crypto {

/// Secret bytes on pages of their own: locked where RLIMIT_MEMLOCK allows, left out of core dumps, empty in a forked
/// child, zeroed before they are given back. Move-only. Costs a page and three system calls, so one per key or per
/// group of keys, not one per message.
class SecretBytes {
 public:
  SecretBytes() = default;
  /// `size` zero bytes, aligned to a page. Errors: resource_exhausted.
  static Result<SecretBytes> zeroed(std::size_t size);
  static Result<SecretBytes> copy_of(ByteView bytes);
  SecretBytes(SecretBytes&& other) noexcept;
  SecretBytes& operator=(SecretBytes&& other) noexcept;
  ~SecretBytes();

  std::span<std::byte> bytes() noexcept { return {memory_, size_}; }
  ByteView bytes() const noexcept { return {memory_, size_}; }
  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }

 private:
  std::byte* memory_ = nullptr;
  std::size_t size_ = 0;
};

/// Zeroes memory in a way the compiler keeps.
void wipe(std::span<std::byte> bytes) noexcept;

/// Fills `out` from getrandom(2). Errors: internal.
Result<void> fill_random(std::span<std::byte> out);

/// Whether `a` and `b` are the same, in time that depends on their size only.
bool same(ByteView a, ByteView b) noexcept;

}  // namespace sandbox::crypto
