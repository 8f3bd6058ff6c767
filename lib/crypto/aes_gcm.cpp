#include "crypto/aes_gcm.hpp"

#include <sodium.h>

#include "crypto/aes_gcm_vector.hpp"
#include "crypto/secret.hpp"
#include "crypto/raw.hpp"

namespace sandbox::crypto {
namespace {

using SodiumState = crypto_aead_aes256gcm_state;
static_assert(sizeof(SodiumState) <= sizeof GcmKey::state && alignof(SodiumState) <= alignof(GcmKey));

}  // namespace

GcmKernel best_gcm_kernel() noexcept {
  if (vector_gcm_available()) return GcmKernel::vector;
  return crypto_aead_aes256gcm_is_available() ? GcmKernel::sodium : GcmKernel::none;
}

void gcm_expand(GcmKey& key, const std::byte* bytes, GcmKernel kernel) noexcept {
  key.kernel = kernel;
  if (kernel == GcmKernel::vector) vector_gcm_expand(key.state, bytes);
  else crypto_aead_aes256gcm_beforenm(reinterpret_cast<SodiumState*>(key.state), raw(bytes));
}

void gcm_seal(const GcmKey& key, const std::byte* nonce, ByteView additional, ByteView plain, std::byte* out) noexcept {
  if (key.kernel == GcmKernel::vector) {
    vector_gcm(key.state, nonce, additional, plain.data(), plain.size(), out, out + plain.size(), true);
    return;
  }
  crypto_aead_aes256gcm_encrypt_afternm(raw(out), nullptr, raw(plain.data()), plain.size(), raw(additional.data()),
                                        additional.size(), nullptr, raw(nonce),
                                        reinterpret_cast<const SodiumState*>(key.state));
}

bool gcm_open(const GcmKey& key, const std::byte* nonce, ByteView additional, ByteView sealed, std::byte* out) noexcept {
  if (sealed.size() < kGcmTag) return false;
  if (key.kernel == GcmKernel::vector) {
    const ByteView content = sealed.first(sealed.size() - kGcmTag);
    std::byte tag[kGcmTag];
    vector_gcm(key.state, nonce, additional, content.data(), content.size(), out, tag, false);
    if (same(tag, sealed.last(kGcmTag))) return true;
    wipe({out, content.size()});
    return false;
  }
  return crypto_aead_aes256gcm_decrypt_afternm(raw(out), nullptr, nullptr, raw(sealed.data()), sealed.size(),
                                               raw(additional.data()), additional.size(), raw(nonce),
                                               reinterpret_cast<const SodiumState*>(key.state)) == 0;
}

}  // namespace sandbox::crypto
