#include "protocol/zstd.hpp"

#include <zstd.h>

namespace sandbox::protocol {

Compressor::~Compressor() { ZSTD_freeCCtx(static_cast<ZSTD_CCtx*>(context_)); }

std::optional<std::size_t> Compressor::compress(ByteView in, std::span<std::byte> out) noexcept {
  if (!context_) context_ = ZSTD_createCCtx();
  if (!context_) return std::nullopt;  // no memory: sending raw always works
  const std::size_t size =
      ZSTD_compressCCtx(static_cast<ZSTD_CCtx*>(context_), out.data(), out.size(), in.data(), in.size(), 1);
  if (ZSTD_isError(size)) return std::nullopt;
  return size;
}

Decompressor::~Decompressor() { ZSTD_freeDCtx(static_cast<ZSTD_DCtx*>(context_)); }

Result<std::size_t> Decompressor::raw_size(ByteView in, std::size_t limit) {
  const unsigned long long size = ZSTD_getFrameContentSize(in.data(), in.size());
  if (size == ZSTD_CONTENTSIZE_UNKNOWN || size == ZSTD_CONTENTSIZE_ERROR) {
    return Error(ErrorCode::protocol, "compressed data without its size");
  }
  if (size > limit) return Error(ErrorCode::protocol, "compressed data expands beyond the limit");
  return static_cast<std::size_t>(size);
}

Result<void> Decompressor::decompress(ByteView in, std::span<std::byte> out) {
  if (!context_) context_ = ZSTD_createDCtx();
  if (!context_) return Error(ErrorCode::resource_exhausted, "no memory to decompress");
  const std::size_t size =
      ZSTD_decompressDCtx(static_cast<ZSTD_DCtx*>(context_), out.data(), out.size(), in.data(), in.size());
  if (ZSTD_isError(size) || size != out.size()) return Error(ErrorCode::protocol, "malformed compressed data");
  return {};
}

}  // namespace sandbox::protocol
