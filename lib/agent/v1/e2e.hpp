#pragma once

#include <memory>
#include <string>
#include <string_view>

#include <sandbox/bytes.hpp>
#include <sandbox/result.hpp>

#include "crypto/aes_gcm.hpp"
#include "crypto/key_pair.hpp"
#include "crypto/secret.hpp"

/// The v1 dialect's own encryption: one raw X25519 exchange, AES-256-GCM with random nonces and no additional data. It
/// keeps out who only listens; who carries the bytes can answer in the agent's place, and drop, repeat or reorder
/// messages. Sealed v2 sessions (docs/PROTOCOL.md) can do better; this is for clients that know nothing else.
namespace sandbox::agent::v1 {

class Cipher {
 public:
  static constexpr std::size_t kOverhead = crypto::kGcmNonce + crypto::kGcmTag;

  /// From our pair and the client's public key of 32 bytes. Errors: protocol (small order), unsupported (the CPU lacks
  /// AES instructions), resource_exhausted.
  static Result<std::shared_ptr<const Cipher>> agree(const crypto::KeyPair& ours, ByteView client_key);
  /// From a key of 32 bytes. Errors: unsupported, resource_exhausted.
  static Result<std::shared_ptr<const Cipher>> from_key(ByteView key);

  /// nonce ‖ ciphertext ‖ tag, under a fresh nonce. Errors: internal (no randomness).
  Result<std::string> seal(std::string_view plain) const;
  /// The same under a given nonce of 12 bytes: for test vectors only.
  std::string seal_with(ByteView nonce, std::string_view plain) const;
  /// Errors: corrupt.
  Result<std::string> open(std::string_view blob) const;

 private:
  explicit Cipher(crypto::SecretBytes key) : key_(std::move(key)) {}
  const crypto::GcmKey& key() const noexcept;
  crypto::SecretBytes key_;   ///< a GcmKey
};

}  // namespace sandbox::agent::v1
