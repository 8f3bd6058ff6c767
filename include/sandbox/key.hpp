#pragma once

#include <array>
#include <memory>
#include <string>
#include <string_view>

#include <sandbox/bytes.hpp>
#include <sandbox/result.hpp>

namespace sandbox {

namespace crypto {
class KeyPair;
class SecretBytes;
}  // namespace crypto

/// SHA-256 of an agent's public key: what a caller pins so that nobody between it and the agent can read or change
/// anything. A value; not secret.
class Fingerprint {
 public:
  static constexpr std::size_t kSize = 32;
  explicit Fingerprint(const std::array<std::byte, kSize>& bytes) : bytes_(bytes) {}
  /// Reads what to_string() writes. Errors: invalid_argument.
  static Result<Fingerprint> parse(std::string_view text);
  /// "sha256:" and 64 lower-case hexadecimal digits.
  std::string to_string() const;
  ByteView bytes() const noexcept { return bytes_; }
  bool operator==(const Fingerprint&) const = default;

 private:
  std::array<std::byte, kSize> bytes_;
};

/// 32 secret bytes known to a caller and its agent and to nobody between them. Copies share one locked page of memory
/// that is wiped with the last of them. Thread-safe to read.
class PreSharedKey {
 public:
  static constexpr std::size_t kSize = 32;
  /// Errors: internal, when the kernel gives no random bytes or no memory.
  static Result<PreSharedKey> generate();
  /// Errors: invalid_argument, unless `secret` is 32 bytes that are not all zero.
  static Result<PreSharedKey> from_bytes(ByteView secret);
  /// The secret itself, for handing it to the other end. Valid while this key or a copy lives.
  ByteView reveal() const noexcept;

 private:
  explicit PreSharedKey(std::shared_ptr<const crypto::SecretBytes> secret) : secret_(std::move(secret)) {}
  std::shared_ptr<const crypto::SecretBytes> secret_;
};

/// An agent's long-term X25519 key pair. Copies share it; the private half lies in locked memory. Thread-safe to read.
class Identity {
 public:
  /// Errors: internal, when the kernel gives no random bytes or no memory.
  static Result<Identity> generate();
  /// From a private key of 32 bytes. Errors: invalid_argument.
  static Result<Identity> from_private_key(ByteView key);
  Fingerprint fingerprint() const;
  const crypto::KeyPair& key_pair() const noexcept { return *pair_; }

 private:
  explicit Identity(std::shared_ptr<const crypto::KeyPair> pair) : pair_(std::move(pair)) {}
  std::shared_ptr<const crypto::KeyPair> pair_;
};

}  // namespace sandbox
