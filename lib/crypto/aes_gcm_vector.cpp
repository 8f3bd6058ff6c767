#include "crypto/aes_gcm_vector.hpp"

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace sandbox::crypto {

#if defined(__x86_64__)

// Notation. GCM numbers the bits of a block from the first bit of its first byte: that bit is the coefficient of x^0.
// A block whose bytes are reversed (swap) is an integer with the coefficient of x^k in bit 127-k. A carry-less product of
// two such integers has that of x^k in bit 254-k, which, read as 256 bits with x^k in bit 255-k, is the product times x.
// So the powers of the hash key H are kept times x^-1, and products need no shift.
#define SANDBOX_GCM __attribute__((target("avx2,vaes,vpclmulqdq,aes,pclmul,sse4.1"), always_inline)) static inline
#define SANDBOX_GCM_ENTRY __attribute__((target("avx2,vaes,vpclmulqdq,aes,pclmul,sse4.1")))

namespace {

constexpr int kRounds = 14;
constexpr int kPowers = 16;

/// What GcmKey::state holds.
struct State {
  __m128i round[kRounds + 1];
  // Two powers of H, each times x^-1, belong to a vector of two blocks: H^16 H^15, H^14 H^13, … H^2 H^1.
  alignas(32) __m128i power[kPowers];
};
static_assert(sizeof(State) <= 512);

SANDBOX_GCM __m128i swap(__m128i block) {
  return _mm_shuffle_epi8(block, _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
}
SANDBOX_GCM __m256i swap(__m256i blocks) {
  return _mm256_shuffle_epi8(blocks, _mm256_broadcastsi128_si256(_mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13,
                                                                              14, 15)));
}

/// 256 bits, x^k in bit 255-k, modulo x^128 + x^7 + x^2 + x + 1. The two low words hold x^128 and up; each is replaced by
/// itself times 1 + x + x^2 + x^7 sixty-four degrees further down: the 1 by the exchange of halves, the rest, divided by
/// x as above, by a product with 1 + x + x^6.
SANDBOX_GCM __m128i reduce(__m128i low, __m128i high) {
  const __m128i poly = _mm_set_epi64x(0, static_cast<long long>(0xc200000000000000u));
  const __m128i first = _mm_xor_si128(_mm_shuffle_epi32(low, 0x4e), _mm_clmulepi64_si128(low, poly, 0x00));
  const __m128i second = _mm_xor_si128(_mm_shuffle_epi32(first, 0x4e), _mm_clmulepi64_si128(first, poly, 0x00));
  return _mm_xor_si128(high, second);
}

SANDBOX_GCM __m128i combine(__m128i low, __m128i middle, __m128i high) {
  return reduce(_mm_xor_si128(low, _mm_slli_si128(middle, 8)), _mm_xor_si128(high, _mm_srli_si128(middle, 8)));
}

/// a · b, for b kept times x^-1.
SANDBOX_GCM __m128i multiply(__m128i a, __m128i b) {
  return combine(_mm_clmulepi64_si128(a, b, 0x00),
                 _mm_xor_si128(_mm_clmulepi64_si128(a, b, 0x01), _mm_clmulepi64_si128(a, b, 0x10)),
                 _mm_clmulepi64_si128(a, b, 0x11));
}

SANDBOX_GCM __m128i encrypt_block(const State& state, __m128i block) {
  block = _mm_xor_si128(block, state.round[0]);
  for (int i = 1; i < kRounds; ++i) block = _mm_aesenc_si128(block, state.round[i]);
  return _mm_aesenclast_si128(block, state.round[kRounds]);
}

/// Adds `bytes`, padded with zeros to whole blocks, to the hash.
SANDBOX_GCM __m128i hash_bytes(const State& state, __m128i hash, const std::byte* bytes, std::size_t size) {
  const __m128i h = state.power[kPowers - 1];
  for (; size >= 16; bytes += 16, size -= 16) {
    const __m128i block = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes));
    hash = multiply(_mm_xor_si128(hash, swap(block)), h);
  }
  if (size > 0) {
    alignas(16) std::byte last[16] = {};
    std::memcpy(last, bytes, size);
    hash = multiply(_mm_xor_si128(hash, swap(_mm_load_si128(reinterpret_cast<const __m128i*>(last)))), h);
  }
  return hash;
}

/// Sixteen blocks of ciphertext: one multiplication each, one reduction for all.
SANDBOX_GCM __m128i hash_sixteen(const State& state, __m128i hash, const __m256i (&cipher)[8]) {
  __m256i low = _mm256_setzero_si256(), middle = low, high = low;
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    __m256i x = swap(cipher[i]);
    if (i == 0) x = _mm256_xor_si256(x, _mm256_zextsi128_si256(hash));
    const __m256i h = _mm256_load_si256(reinterpret_cast<const __m256i*>(&state.power[2 * i]));
    low = _mm256_xor_si256(low, _mm256_clmulepi64_epi128(x, h, 0x00));
    high = _mm256_xor_si256(high, _mm256_clmulepi64_epi128(x, h, 0x11));
    middle = _mm256_xor_si256(middle, _mm256_xor_si256(_mm256_clmulepi64_epi128(x, h, 0x01),
                                                       _mm256_clmulepi64_epi128(x, h, 0x10)));
  }
  const auto fold = [](__m256i v) __attribute__((target("avx2"))) {
    return _mm_xor_si128(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  };
  return combine(fold(low), fold(middle), fold(high));
}

}  // namespace

bool vector_gcm_available() noexcept {
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned kPclmul = 1u << 1, kSse41 = 1u << 19, kAes = 1u << 25, kOsxsave = 1u << 27, kAvx = 1u << 28;
  constexpr unsigned kNeeded = kPclmul | kSse41 | kAes | kOsxsave | kAvx;
  if (!__get_cpuid(1, &a, &b, &c, &d) || (c & kNeeded) != kNeeded) return false;
  std::uint32_t enabled = 0, ignored = 0;
  __asm__("xgetbv" : "=a"(enabled), "=d"(ignored) : "c"(0));
  if ((enabled & 6) != 6) return false;  // the kernel saves xmm and ymm
  constexpr unsigned kAvx2 = 1u << 5, kVaes = 1u << 9, kVpclmul = 1u << 10;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & kAvx2) && (c & kVaes) && (c & kVpclmul);
}

SANDBOX_GCM_ENTRY void vector_gcm_expand(std::byte* memory, const std::byte* key) noexcept {
  State& state = *reinterpret_cast<State*>(memory);
  // FIPS 197, 5.2: even round keys take the rotated last word with a round constant, odd ones the plain last word.
  const auto spread = [](__m128i word_keys) __attribute__((target("sse4.1"))) {
    word_keys = _mm_xor_si128(word_keys, _mm_slli_si128(word_keys, 4));
    return _mm_xor_si128(word_keys, _mm_slli_si128(word_keys, 8));
  };
  __m128i even = _mm_loadu_si128(reinterpret_cast<const __m128i*>(key));
  __m128i odd = _mm_loadu_si128(reinterpret_cast<const __m128i*>(key + 16));
  state.round[0] = even;
  state.round[1] = odd;
#define SANDBOX_EXPAND(index, constant)                                                                     \
  even = _mm_xor_si128(spread(even), _mm_shuffle_epi32(_mm_aeskeygenassist_si128(odd, constant), 0xff));    \
  state.round[index] = even;                                                                                \
  if constexpr ((index) < kRounds) {                                                                        \
    odd = _mm_xor_si128(spread(odd), _mm_shuffle_epi32(_mm_aeskeygenassist_si128(even, 0), 0xaa));          \
    state.round[((index) < kRounds) ? (index) + 1 : 0] = odd;                                               \
  }
  SANDBOX_EXPAND(2, 0x01)
  SANDBOX_EXPAND(4, 0x02)
  SANDBOX_EXPAND(6, 0x04)
  SANDBOX_EXPAND(8, 0x08)
  SANDBOX_EXPAND(10, 0x10)
  SANDBOX_EXPAND(12, 0x20)
  SANDBOX_EXPAND(14, 0x40)
#undef SANDBOX_EXPAND

  // H · x^-1: one bit up, and where x^0 falls out, 1/x = x^127 + x^6 + x + 1 comes in.
  const __m128i h = swap(encrypt_block(state, _mm_setzero_si128()));
  const __m128i carry = _mm_srli_epi64(_mm_slli_si128(h, 8), 63);
  const __m128i out = _mm_shuffle_epi32(_mm_srai_epi32(h, 31), 0xff);
  const __m128i inverse = _mm_set_epi64x(static_cast<long long>(0xc200000000000000u), 1);
  const __m128i first =
      _mm_xor_si128(_mm_or_si128(_mm_slli_epi64(h, 1), carry), _mm_and_si128(out, inverse));
  __m128i power = first;
  for (int i = kPowers - 1;; --i) {
    state.power[i] = power;
    if (i == 0) break;
    power = multiply(power, first);
  }
  // A vector holds the block that comes first in its low half, and that one takes the higher power: the order in memory.
}

SANDBOX_GCM_ENTRY void vector_gcm(const std::byte* memory, const std::byte* nonce, ByteView additional, const std::byte* in,
                                  std::size_t size, std::byte* out, std::byte* tag, bool encrypt) noexcept {
  const State& state = *reinterpret_cast<const State*>(memory);
  // Reversed, a counter block has its 32-bit counter in the lowest word.
  alignas(16) std::byte first[16] = {};
  std::memcpy(first, nonce, 12);
  __m128i counter = swap(_mm_load_si128(reinterpret_cast<const __m128i*>(first)));
  const __m128i one = _mm_set_epi32(0, 0, 0, 1);
  counter = _mm_add_epi32(counter, one);
  const __m128i mask = encrypt_block(state, swap(counter));
  counter = _mm_add_epi32(counter, one);

  __m128i hash = hash_bytes(state, _mm_setzero_si128(), additional.data(), additional.size());
  std::size_t left = size;
  if (left >= 256) {
    __m256i counters = _mm256_inserti128_si256(_mm256_castsi128_si256(counter), _mm_add_epi32(counter, one), 1);
    const __m256i two = _mm256_broadcastsi128_si256(_mm_set_epi32(0, 0, 0, 2));
    do {
      __m256i block[8], cipher[8];
      const __m256i whitening = _mm256_broadcastsi128_si256(state.round[0]);
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) {
        block[i] = _mm256_xor_si256(swap(counters), whitening);
        counters = _mm256_add_epi32(counters, two);
      }
#pragma GCC unroll 13
      for (int r = 1; r < kRounds; ++r) {
        const __m256i round = _mm256_broadcastsi128_si256(state.round[r]);
#pragma GCC unroll 8
        for (int i = 0; i < 8; ++i) block[i] = _mm256_aesenc_epi128(block[i], round);
      }
      const __m256i last = _mm256_broadcastsi128_si256(state.round[kRounds]);
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) {
        const __m256i text = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(in + 32 * i));
        const __m256i mixed = _mm256_xor_si256(_mm256_aesenclast_epi128(block[i], last), text);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 32 * i), mixed);
        cipher[i] = encrypt ? mixed : text;
      }
      hash = hash_sixteen(state, hash, cipher);
      in += 256, out += 256, left -= 256;
    } while (left >= 256);
    counter = _mm256_castsi256_si128(counters);
  }
  const __m128i h = state.power[kPowers - 1];
  for (; left >= 16; in += 16, out += 16, left -= 16) {
    const __m128i text = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in));
    const __m128i mixed = _mm_xor_si128(encrypt_block(state, swap(counter)), text);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), mixed);
    counter = _mm_add_epi32(counter, one);
    hash = multiply(_mm_xor_si128(hash, swap(encrypt ? mixed : text)), h);
  }
  if (left > 0) {
    alignas(16) std::byte part[16] = {};
    std::memcpy(part, in, left);
    const __m128i text = _mm_load_si128(reinterpret_cast<const __m128i*>(part));
    const __m128i mixed = _mm_xor_si128(encrypt_block(state, swap(counter)), text);
    alignas(16) std::byte result[16];
    _mm_store_si128(reinterpret_cast<__m128i*>(result), mixed);
    std::memcpy(out, result, left);
    // The hash takes the ciphertext padded with zeros, not with key stream.
    if (encrypt) std::memcpy(part, result, left);
    hash = multiply(_mm_xor_si128(hash, swap(_mm_load_si128(reinterpret_cast<const __m128i*>(part)))), h);
  }
  const __m128i lengths = _mm_set_epi64x(static_cast<long long>(additional.size() * 8), static_cast<long long>(size * 8));
  hash = multiply(_mm_xor_si128(hash, lengths), h);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(tag), _mm_xor_si128(swap(hash), mask));
}

#else

bool vector_gcm_available() noexcept { return false; }
void vector_gcm_expand(std::byte*, const std::byte*) noexcept {}
void vector_gcm(const std::byte*, const std::byte*, ByteView, const std::byte*, std::size_t, std::byte*, std::byte*,
                bool) noexcept {}

#endif

}  // namespace sandbox::crypto
