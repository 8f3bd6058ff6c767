#include "crypto/aes_gcm.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include <sodium.h>

#include "core/text.hpp"

namespace sandbox::crypto {
namespace {

std::string from_hex(std::string_view hex) {
  std::string out;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    out += static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16));
  }
  return out;
}
std::byte* bytes(std::string& text) { return reinterpret_cast<std::byte*>(text.data()); }

class AesGcm : public ::testing::TestWithParam<GcmKernel> {
 protected:
  void SetUp() override {
    ASSERT_GE(sodium_init(), 0);
    const GcmKernel best = best_gcm_kernel();
    if (best == GcmKernel::none || (GetParam() == GcmKernel::vector && best != GcmKernel::vector)) {
      GTEST_SKIP() << "this CPU lacks the instructions";
    }
  }
  std::string seal(const std::string& key, const std::string& nonce, const std::string& additional, std::string plain) {
    GcmKey expanded;
    gcm_expand(expanded, as_bytes(key).data(), GetParam());
    std::string out(plain.size() + kGcmTag, '\xee');
    gcm_seal(expanded, as_bytes(nonce).data(), as_bytes(additional), as_bytes(plain), bytes(out));
    plain.resize(plain.size() + kGcmTag);  // the same in place
    gcm_seal(expanded, as_bytes(nonce).data(), as_bytes(additional),
             ByteView(bytes(plain), plain.size() - kGcmTag), bytes(plain));
    EXPECT_EQ(plain, out);
    return out;
  }
};

TEST_P(AesGcm, GivesThePublishedResults) {
  // NIST/McGrew-Viega test cases 13 to 16 (256-bit keys, 96-bit nonces).
  const std::string zero_key(32, '\0'), zero_nonce(12, '\0');
  EXPECT_EQ(core::to_hex(seal(zero_key, zero_nonce, "", "").data(), 16), "530f8afbc74536b9a963b4f1c4cb738b");
  EXPECT_EQ(core::to_hex(seal(zero_key, zero_nonce, "", std::string(16, '\0')).data(), 32),
            "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919");
  const std::string key = from_hex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308");
  const std::string nonce = from_hex("cafebabefacedbaddecaf888");
  const std::string plain =
      from_hex("d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de6"
               "57ba637b39");
  const std::string sealed = seal(key, nonce, from_hex("feedfacedeadbeeffeedfacedeadbeefabaddad2"), plain);
  EXPECT_EQ(core::to_hex(sealed.data(), sealed.size()),
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abc"
            "c9f66276fc6ece0f4e1768cddf8853bb2d551b");
}

TEST_P(AesGcm, AgreesWithLibsodiumAtEverySize) {
  if (!crypto_aead_aes256gcm_is_available()) GTEST_SKIP() << "this CPU lacks the instructions";
  std::mt19937_64 random(7);
  const auto fill = [&](std::size_t size) {
    std::string out(size, '\0');
    for (char& c : out) c = static_cast<char>(random());
    return out;
  };
  std::vector<std::size_t> sizes;
  for (std::size_t size = 0; size <= 800; ++size) sizes.push_back(size);
  for (const std::size_t size : {4095u, 4096u, 65'537u, 131'092u, 262'144u}) sizes.push_back(size);
  for (const std::size_t size : sizes) {
    const std::string key = fill(32), nonce = fill(12), additional = fill(random() % 70), plain = fill(size);
    std::string expected(size + kGcmTag, '\0');
    crypto_aead_aes256gcm_encrypt(reinterpret_cast<unsigned char*>(expected.data()), nullptr,
                                  reinterpret_cast<const unsigned char*>(plain.data()), size,
                                  reinterpret_cast<const unsigned char*>(additional.data()), additional.size(), nullptr,
                                  reinterpret_cast<const unsigned char*>(nonce.data()),
                                  reinterpret_cast<const unsigned char*>(key.data()));
    ASSERT_TRUE(seal(key, nonce, additional, plain) == expected) << size;
    GcmKey expanded;
    gcm_expand(expanded, as_bytes(key).data(), GetParam());
    std::string opened(size, '\xee');
    ASSERT_TRUE(gcm_open(expanded, as_bytes(nonce).data(), as_bytes(additional), as_bytes(expected), bytes(opened))) << size;
    ASSERT_TRUE(opened == plain) << size;
    ASSERT_TRUE(gcm_open(expanded, as_bytes(nonce).data(), as_bytes(additional), as_bytes(expected), bytes(expected)));
    ASSERT_TRUE(std::string_view(expected).substr(0, size) == plain) << size;  // in place
  }
}

TEST_P(AesGcm, AnyChangeIsRefusedAndNothingComesOut) {
  const std::string key(32, 'k'), nonce(12, 'n'), additional(24, 'a');
  for (const std::size_t size : {1u, 16u, 40u, 300u}) {
    const std::string sealed = seal(key, nonce, additional, std::string(size, 'p'));
    GcmKey expanded;
    gcm_expand(expanded, as_bytes(key).data(), GetParam());
    for (std::size_t bit = 0; bit < sealed.size() * 8; ++bit) {
      std::string changed = sealed;
      changed[bit / 8] = static_cast<char>(changed[bit / 8] ^ (1 << bit % 8));
      std::string out(size, '\xee');
      ASSERT_FALSE(gcm_open(expanded, as_bytes(nonce).data(), as_bytes(additional), as_bytes(changed), bytes(out)));
      ASSERT_EQ(out.find('p'), std::string::npos);
    }
    std::string out(size, '\xee');
    EXPECT_FALSE(gcm_open(expanded, as_bytes(nonce).data(), as_bytes(std::string(24, 'b')), as_bytes(sealed), bytes(out)));
    EXPECT_FALSE(gcm_open(expanded, as_bytes(std::string(12, 'm')).data(), as_bytes(additional), as_bytes(sealed), bytes(out)));
    EXPECT_FALSE(gcm_open(expanded, as_bytes(nonce).data(), as_bytes(additional), as_bytes("short"), bytes(out)));
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, AesGcm, ::testing::Values(GcmKernel::sodium, GcmKernel::vector),
                         [](const auto& kernel) { return kernel.param == GcmKernel::sodium ? "Sodium" : "Vector"; });

}  // namespace
}  // namespace sandbox::crypto
