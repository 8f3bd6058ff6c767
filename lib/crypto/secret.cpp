#include "crypto/secret.hpp"

#include <cerrno>
#include <cstring>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>
#include <utility>

namespace sandbox::crypto {
namespace {

std::size_t whole_pages(std::size_t size) {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  return (size + page - 1) / page * page;
}

}  // namespace

Result<SecretBytes> SecretBytes::zeroed(std::size_t size) {
  SecretBytes secret;
  if (size == 0) return secret;
  void* memory = ::mmap(nullptr, whole_pages(size), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return Error::from_errno(errno, "crypto.secret_memory");
  // All three are defence in depth: a small RLIMIT_MEMLOCK or an old kernel must not make sealing impossible.
  (void)!::mlock(memory, size);
  (void)!::madvise(memory, whole_pages(size), MADV_DONTDUMP);
  (void)!::madvise(memory, whole_pages(size), MADV_WIPEONFORK);
  secret.memory_ = static_cast<std::byte*>(memory);
  secret.size_ = size;
  return secret;
}

Result<SecretBytes> SecretBytes::copy_of(ByteView bytes) {
  SANDBOX_TRY(SecretBytes secret, zeroed(bytes.size()));
  if (!bytes.empty()) std::memcpy(secret.memory_, bytes.data(), bytes.size());
  return secret;
}

SecretBytes::SecretBytes(SecretBytes&& other) noexcept
    : memory_(std::exchange(other.memory_, nullptr)), size_(std::exchange(other.size_, 0)) {}

SecretBytes& SecretBytes::operator=(SecretBytes&& other) noexcept {
  std::swap(memory_, other.memory_);
  std::swap(size_, other.size_);
  return *this;
}

SecretBytes::~SecretBytes() {
  if (!memory_) return;
  wipe(bytes());
  ::munmap(memory_, whole_pages(size_));
}

void wipe(std::span<std::byte> bytes) noexcept { ::explicit_bzero(bytes.data(), bytes.size()); }

Result<void> fill_random(std::span<std::byte> out) {
  while (!out.empty()) {
    const ssize_t got = ::getrandom(out.data(), out.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return Error(ErrorCode::internal, "no random bytes").with_operation("crypto.random").with_errno(errno);
    out = out.subspan(static_cast<std::size_t>(got));
  }
  return {};
}

bool same(ByteView a, ByteView b) noexcept {
  if (a.size() != b.size()) return false;
  unsigned difference = 0;
  for (std::size_t i = 0; i < a.size(); ++i) difference |= std::to_integer<unsigned>(a[i] ^ b[i]);
  return difference == 0;
}

}  // namespace sandbox::crypto
