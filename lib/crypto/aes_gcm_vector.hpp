#pragma once

#include <cstddef>

#include <sandbox/bytes.hpp>

/// The kernel behind crypto/aes_gcm.hpp for CPUs with AVX2, VAES and VPCLMULQDQ. `state` is GcmKey::state. Calling
/// anything but the first function where that says no is an illegal instruction.
namespace sandbox::crypto {

bool vector_gcm_available() noexcept;
void vector_gcm_expand(std::byte* state, const std::byte* key) noexcept;
/// Encrypts or decrypts `size` bytes from `in` to `out` and computes the tag of the ciphertext.
void vector_gcm(const std::byte* state, const std::byte* nonce, ByteView additional, const std::byte* in, std::size_t size,
                std::byte* out, std::byte* tag, bool encrypt) noexcept;

}  // namespace sandbox::crypto
