#include "agent/v1/e2e.hpp"

#include <algorithm>
#include <new>
#include <utility>

#include <sodium.h>

namespace sandbox::agent::v1 {
namespace {

std::byte* bytes_of(std::string& text) noexcept { return reinterpret_cast<std::byte*>(text.data()); }

}  // namespace

Result<std::shared_ptr<const Cipher>> Cipher::agree(const crypto::KeyPair& ours, ByteView client_key) {
  if (client_key.size() != crypto::kKeySize) return Error(ErrorCode::invalid_argument, "a public key has 32 bytes");
  crypto::PublicKey peer;
  std::copy(client_key.begin(), client_key.end(), peer.begin());
  SANDBOX_TRY(crypto::SecretBytes shared, crypto::SecretBytes::zeroed(crypto::kKeySize));
  SANDBOX_CHECK(ours.agree(peer, shared.bytes()));
  return from_key(shared.bytes());
}

Result<std::shared_ptr<const Cipher>> Cipher::from_key(ByteView bytes) {
  if (bytes.size() != crypto::kKeySize) return Error(ErrorCode::invalid_argument, "a key has 32 bytes");
  if (::sodium_init() < 0) return Error(ErrorCode::internal, "libsodium does not start");
  static const auto kernel = crypto::best_gcm_kernel();
  if (kernel == crypto::GcmKernel::none) return Error(ErrorCode::unsupported, "this CPU has no AES instructions");
  SANDBOX_TRY(crypto::SecretBytes memory, crypto::SecretBytes::zeroed(sizeof(crypto::GcmKey)));
  auto* key = new (memory.bytes().data()) crypto::GcmKey;
  crypto::gcm_expand(*key, bytes.data(), kernel);
  return std::shared_ptr<const Cipher>(new Cipher(std::move(memory)));
}

const crypto::GcmKey& Cipher::key() const noexcept { return *reinterpret_cast<const crypto::GcmKey*>(key_.bytes().data()); }

Result<std::string> Cipher::seal(std::string_view plain) const {
  std::byte nonce[crypto::kGcmNonce];
  SANDBOX_CHECK(crypto::fill_random(nonce));
  return seal_with(nonce, plain);
}

std::string Cipher::seal_with(ByteView nonce, std::string_view plain) const {
  std::string blob(kOverhead + plain.size(), '\0');
  std::copy(nonce.begin(), nonce.end(), bytes_of(blob));
  crypto::gcm_seal(key(), nonce.data(), {}, as_bytes(plain), bytes_of(blob) + crypto::kGcmNonce);
  return blob;
}

Result<std::string> Cipher::open(std::string_view blob) const {
  if (blob.size() < kOverhead) return Error(ErrorCode::corrupt, "message too short");
  std::string plain(blob.size() - kOverhead, '\0');
  const ByteView bytes = as_bytes(blob);
  if (!crypto::gcm_open(key(), bytes.data(), {}, bytes.subspan(crypto::kGcmNonce), bytes_of(plain)))
    return Error(ErrorCode::corrupt, "message authentication failed");
  return plain;
}

}  // namespace sandbox::agent::v1
