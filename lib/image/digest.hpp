#pragma once

#include <sodium/crypto_hash_sha256.h>

#include <string>

#include <sandbox/bytes.hpp>

#include "core/text.hpp"

namespace sandbox::image {

/// SHA-256 of bytes given piece by piece.
class Sha256 {
 public:
  Sha256() { crypto_hash_sha256_init(&state_); }
  void add(ByteView bytes) {
    crypto_hash_sha256_update(&state_, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
  }
  /// 64 lower-case hex digits. Once.
  std::string finish() {
    unsigned char digest[crypto_hash_sha256_BYTES];
    crypto_hash_sha256_final(&state_, digest);
    return core::to_hex(digest, sizeof digest);
  }

 private:
  crypto_hash_sha256_state state_;
};

}  // namespace sandbox::image
