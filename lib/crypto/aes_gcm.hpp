#pragma once

#include <cstddef>
#include <cstdint>

#include <sandbox/bytes.hpp>

/// AES-256-GCM (NIST SP 800-38D) with nonces of 12 bytes and tags of 16. libsodium's implementation, except on CPUs with
/// vector AES (VAES and VPCLMULQDQ, 2019 and later), where a kernel of ours is three to four times as fast: see
/// docs/adr/0004-aes-gcm-kernel.md. No tables, no branches on secrets.
namespace sandbox::crypto {

inline constexpr std::size_t kGcmTag = 16;
inline constexpr std::size_t kGcmNonce = 12;

enum class GcmKernel : std::uint8_t { none, sodium, vector };

/// The fastest kernel of this CPU. Executes CPUID, which a hypervisor emulates: ask once. sodium_init() came before.
GcmKernel best_gcm_kernel() noexcept;

/// An expanded key. Trivial, so that it can lie in SecretBytes; holds secrets, so it should.
struct alignas(64) GcmKey {
  std::byte state[512];
  GcmKernel kernel;
};

void gcm_expand(GcmKey& key, const std::byte* bytes, GcmKernel kernel) noexcept;

/// Writes plain.size() + kGcmTag bytes to `out`, which is plain.data() or does not overlap it. At most 2^32 bytes.
void gcm_seal(const GcmKey& key, const std::byte* nonce, ByteView additional, ByteView plain, std::byte* out) noexcept;

/// Writes sealed.size() - kGcmTag bytes to `out`, which is sealed.data() or does not overlap it, and says whether they
/// are what was sealed; otherwise they are zeroed.
[[nodiscard]] bool gcm_open(const GcmKey& key, const std::byte* nonce, ByteView additional, ByteView sealed,
                            std::byte* out) noexcept;

}  // namespace sandbox::crypto
