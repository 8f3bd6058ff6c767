#include "client/signing.hpp"

#include <sodium.h>

#include <array>

#include "core/text.hpp"
#include "crypto/secret.hpp"

namespace sandbox {

Result<SigningKey> SigningKey::generate() {
  std::array<std::byte, crypto_sign_SEEDBYTES> seed;
  SANDBOX_CHECK(crypto::fill_random(seed));
  auto key = from_seed(seed);
  crypto::wipe(seed);
  return key;
}

Result<SigningKey> SigningKey::from_seed(ByteView seed) {
  if (seed.size() != crypto_sign_SEEDBYTES) return Error(ErrorCode::invalid_argument, "a signing key's seed has 32 bytes");
  if (::sodium_init() < 0) return Error(ErrorCode::internal, "libsodium cannot be used");
  // libsodium's secret key: the seed, then the public key.
  SANDBOX_TRY(crypto::SecretBytes secret, crypto::SecretBytes::zeroed(crypto_sign_SECRETKEYBYTES));
  auto* out = reinterpret_cast<unsigned char*>(secret.bytes().data());
  unsigned char public_key[crypto_sign_PUBLICKEYBYTES];
  ::crypto_sign_seed_keypair(public_key, out, reinterpret_cast<const unsigned char*>(seed.data()));
  return SigningKey(std::make_shared<const crypto::SecretBytes>(std::move(secret)));
}

std::string SigningKey::public_key() const { return client::base64(secret_->bytes().subspan(crypto_sign_SEEDBYTES)); }

Bytes SigningKey::sign(std::string_view text) const {
  Bytes signature(crypto_sign_BYTES);
  ::crypto_sign_detached(reinterpret_cast<unsigned char*>(signature.data()), nullptr, reinterpret_cast<const unsigned char*>(text.data()),
                         text.size(), reinterpret_cast<const unsigned char*>(secret_->bytes().data()));
  return signature;
}

}  // namespace sandbox

namespace sandbox::client {

std::string base64(ByteView bytes) {
  std::string text(sodium_base64_ENCODED_LEN(bytes.size(), sodium_base64_VARIANT_ORIGINAL), '\0');
  ::sodium_bin2base64(text.data(), text.size(), reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(),
                      sodium_base64_VARIANT_ORIGINAL);
  text.pop_back();  // its terminator
  return text;
}

Result<std::string> make_nonce() {
  std::array<std::byte, 16> random;
  SANDBOX_CHECK(crypto::fill_random(random));
  return core::to_hex(random.data(), random.size());
}

http::Headers sign_request(const Tenant& tenant, std::string_view method, std::string_view path, std::int64_t unix_seconds,
                           std::string_view nonce) {
  const auto number = [](auto value) { return value > 0 ? std::to_string(value) : std::string(); };
  const std::string concurrent = number(tenant.max_concurrent), ttl = number(tenant.max_ttl.count()),
                    templates = number(tenant.max_templates), timestamp = std::to_string(unix_seconds);
  std::string text;
  for (const std::string_view part : {method, path, std::string_view(tenant.name), std::string_view(concurrent), std::string_view(ttl),
                                      std::string_view(templates), std::string_view(timestamp)}) {
    text += part;
    text += '\n';
  }
  if (nonce.empty()) text.pop_back();
  else text += nonce;
  http::Headers headers;
  headers.add("X-Sandbox-Identity", tenant.name);
  headers.add("X-Sandbox-Timestamp", timestamp);
  headers.add("X-Sandbox-Signature", base64(tenant.key.sign(text)));
  if (!concurrent.empty()) headers.add("X-Sandbox-Max-Concurrent", concurrent);
  if (!ttl.empty()) headers.add("X-Sandbox-Max-TTL", ttl);
  if (!templates.empty()) headers.add("X-Sandbox-Max-Templates", templates);
  if (!nonce.empty()) headers.add("X-Sandbox-Nonce", std::string(nonce));
  return headers;
}

}  // namespace sandbox::client
