#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include <sandbox/bytes.hpp>
#include <sandbox/result.hpp>

/// One DATA payload at a time through zstd, level 1: links that are worth compressing for are slower than that.
/// Contexts (some 600 KiB to compress, 160 KiB to decompress) are made at the first use and kept.
namespace sandbox::protocol {

class Compressor {
 public:
  Compressor() = default;
  ~Compressor();
  Compressor(const Compressor&) = delete;
  Compressor& operator=(const Compressor&) = delete;
  /// Compresses `in` into `out`; returns the size, or nothing when it does not fit (give `out` less room than `in` has
  /// to find out whether compressing pays).
  std::optional<std::size_t> compress(ByteView in, std::span<std::byte> out) noexcept;

 private:
  void* context_ = nullptr;
};

class Decompressor {
 public:
  Decompressor() = default;
  ~Decompressor();
  Decompressor(const Decompressor&) = delete;
  Decompressor& operator=(const Decompressor&) = delete;
  /// Raw size of the single zstd frame `in`. Errors: protocol, when it is not stated or exceeds `limit`.
  static Result<std::size_t> raw_size(ByteView in, std::size_t limit);
  /// Fills `out`, whose size is raw_size(in). Errors: protocol.
  Result<void> decompress(ByteView in, std::span<std::byte> out);

 private:
  void* context_ = nullptr;
};

}  // namespace sandbox::protocol
