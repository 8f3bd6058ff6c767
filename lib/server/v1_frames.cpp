#include "server/v1_frames.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace sandbox::server {

std::array<std::byte, kV1Header> v1_header(V1Kind kind, std::size_t length) {
  return {static_cast<std::byte>(kind), static_cast<std::byte>(length >> 24), static_cast<std::byte>(length >> 16),
          static_cast<std::byte>(length >> 8), static_cast<std::byte>(length)};
}

Result<void> V1FrameReader::feed(ByteView bytes, const OnFrame& frame) {
  while (!bytes.empty()) {
    if (header_size_ < kV1Header) {
      const std::size_t count = std::min(kV1Header - header_size_, bytes.size());
      std::memcpy(header_.data() + header_size_, bytes.data(), count);
      header_size_ += count;
      bytes = bytes.subspan(count);
      if (header_size_ < kV1Header) return {};
      length_ = 0;
      for (std::size_t i = 1; i < kV1Header; ++i) length_ = length_ << 8 | std::to_integer<std::size_t>(header_[i]);
      if (length_ > kV1MaxFrame)
        return Error(ErrorCode::protocol, "a frame of " + std::to_string(length_) + " bytes from the agent").with_operation("server.v1");
      // Growing as bytes come, not on the word of a header.
      payload_.clear();
      payload_.reserve(std::min(length_, bytes.size()));
    }
    const std::size_t count = std::min(length_ - payload_.size(), bytes.size());
    payload_.append(reinterpret_cast<const char*>(bytes.data()), count);
    bytes = bytes.subspan(count);
    if (payload_.size() < length_) return {};
    header_size_ = 0;
    const auto kind = static_cast<V1Kind>(header_[0]);
    if (kind == V1Kind::text || kind == V1Kind::binary) frame(kind, std::exchange(payload_, {}));
  }
  return {};
}

}  // namespace sandbox::server
