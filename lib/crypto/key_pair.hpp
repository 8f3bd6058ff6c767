#pragma once

#include <array>

#include <sandbox/bytes.hpp>
#include <sandbox/key.hpp>
#include <sandbox/result.hpp>

#include "crypto/secret.hpp"

namespace sandbox::crypto {

inline constexpr std::size_t kKeySize = 32;
using PublicKey = std::array<std::byte, kKeySize>;

/// An X25519 key pair (RFC 7748). Move-only; the private half lies in SecretBytes.
class KeyPair {
 public:
  static Result<KeyPair> generate();
  /// Errors: invalid_argument, unless `key` has 32 bytes.
  static Result<KeyPair> from_private_key(ByteView key);

  const PublicKey& public_key() const noexcept { return public_key_; }
  /// X25519 with `peer`, into the 32 bytes of `out`. Errors: protocol, when `peer` is a point of small order.
  Result<void> agree(const PublicKey& peer, std::span<std::byte> out) const;

 private:
  explicit KeyPair(SecretBytes secret) : secret_(std::move(secret)) {}
  SecretBytes secret_;
  PublicKey public_key_{};
};

Fingerprint fingerprint_of(const PublicKey& key);

}  // namespace sandbox::crypto
