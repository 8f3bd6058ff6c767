#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sandbox {

using Bytes = std::vector<std::byte>;
using ByteView = std::span<const std::byte>;

inline ByteView as_bytes(std::string_view text) noexcept { return std::as_bytes(std::span(text.data(), text.size())); }
inline std::string_view as_text(ByteView bytes) noexcept {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// An amount of memory or storage. `ByteCount::mib(512)`, `512_MiB`.
class ByteCount {
 public:
  constexpr ByteCount() = default;
  constexpr explicit ByteCount(std::uint64_t bytes) : bytes_(bytes) {}
  static constexpr ByteCount kib(std::uint64_t n) { return ByteCount(n << 10); }
  static constexpr ByteCount mib(std::uint64_t n) { return ByteCount(n << 20); }
  static constexpr ByteCount gib(std::uint64_t n) { return ByteCount(n << 30); }
  constexpr std::uint64_t bytes() const { return bytes_; }
  constexpr auto operator<=>(const ByteCount&) const = default;

 private:
  std::uint64_t bytes_ = 0;
};

inline namespace literals {
constexpr ByteCount operator""_KiB(unsigned long long n) { return ByteCount::kib(n); }
constexpr ByteCount operator""_MiB(unsigned long long n) { return ByteCount::mib(n); }
constexpr ByteCount operator""_GiB(unsigned long long n) { return ByteCount::gib(n); }
}  // namespace literals

}  // namespace sandbox
