#include <sandbox/key.hpp>

#include <algorithm>

#include <sodium.h>

#include "core/text.hpp"
#include "crypto/key_pair.hpp"
#include "crypto/raw.hpp"

namespace sandbox {
namespace {

constexpr std::string_view kPrefix = "sha256:";

int hex_digit(char c) noexcept {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace

Result<Fingerprint> Fingerprint::parse(std::string_view text) {
  std::array<std::byte, kSize> bytes;
  bool good = text.size() == kPrefix.size() + 2 * kSize && text.substr(0, kPrefix.size()) == kPrefix;
  for (std::size_t i = 0; good && i < kSize; ++i) {
    const int high = hex_digit(text[kPrefix.size() + 2 * i]), low = hex_digit(text[kPrefix.size() + 2 * i + 1]);
    good = high >= 0 && low >= 0;
    bytes[i] = static_cast<std::byte>(high * 16 + low);
  }
  if (!good) return Error(ErrorCode::invalid_argument, "a fingerprint is \"sha256:\" and 64 hexadecimal digits");
  return Fingerprint(bytes);
}

std::string Fingerprint::to_string() const { return std::string(kPrefix) + core::to_hex(bytes_.data(), bytes_.size()); }

Result<PreSharedKey> PreSharedKey::generate() {
  SANDBOX_TRY(crypto::SecretBytes secret, crypto::SecretBytes::zeroed(kSize));
  SANDBOX_CHECK(crypto::fill_random(secret.bytes()));
  return PreSharedKey(std::make_shared<const crypto::SecretBytes>(std::move(secret)));
}

Result<PreSharedKey> PreSharedKey::from_bytes(ByteView secret) {
  // All zero stands for "no key" in the key schedule.
  const bool zero = std::all_of(secret.begin(), secret.end(), [](std::byte b) { return b == std::byte{0}; });
  if (secret.size() != kSize || zero) {
    return Error(ErrorCode::invalid_argument, "a pre-shared key has 32 bytes, not all zero");
  }
  SANDBOX_TRY(crypto::SecretBytes copy, crypto::SecretBytes::copy_of(secret));
  return PreSharedKey(std::make_shared<const crypto::SecretBytes>(std::move(copy)));
}

ByteView PreSharedKey::reveal() const noexcept { return secret_->bytes(); }

Result<Identity> Identity::generate() {
  SANDBOX_TRY(crypto::KeyPair pair, crypto::KeyPair::generate());
  return Identity(std::make_shared<const crypto::KeyPair>(std::move(pair)));
}

Result<Identity> Identity::from_private_key(ByteView key) {
  SANDBOX_TRY(crypto::KeyPair pair, crypto::KeyPair::from_private_key(key));
  return Identity(std::make_shared<const crypto::KeyPair>(std::move(pair)));
}

Fingerprint Identity::fingerprint() const { return crypto::fingerprint_of(pair_->public_key()); }

namespace crypto {
Result<KeyPair> KeyPair::generate() {
  SANDBOX_TRY(SecretBytes secret, SecretBytes::zeroed(kKeySize));
  SANDBOX_CHECK(fill_random(secret.bytes()));
  KeyPair pair(std::move(secret));
  crypto_scalarmult_base(raw(pair.public_key_.data()), raw(pair.secret_.bytes().data()));
  return pair;
}

Result<KeyPair> KeyPair::from_private_key(ByteView key) {
  if (key.size() != kKeySize) return Error(ErrorCode::invalid_argument, "a private key has 32 bytes");
  SANDBOX_TRY(SecretBytes secret, SecretBytes::copy_of(key));
  KeyPair pair(std::move(secret));
  crypto_scalarmult_base(raw(pair.public_key_.data()), raw(pair.secret_.bytes().data()));
  return pair;
}

Result<void> KeyPair::agree(const PublicKey& peer, std::span<std::byte> out) const {
  if (crypto_scalarmult(raw(out.data()), raw(secret_.bytes().data()), raw(peer.data())) != 0) {
    return Error(ErrorCode::protocol, "the peer's public key is not usable");
  }
  return {};
}

Fingerprint fingerprint_of(const PublicKey& key) {
  std::array<std::byte, Fingerprint::kSize> hash;
  crypto_hash_sha256(raw(hash.data()), raw(key.data()), key.size());
  return Fingerprint(hash);
}

}  // namespace crypto
}  // namespace sandbox
