#include "signing.hpp"

#include <array>
#include <cerrno>
#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "text.hpp"

namespace sbx {

using sandbox::Error;
using sandbox::ErrorCode;
using sandbox::Result;

namespace {

constexpr std::size_t kSeed = 32;
/// DER of RFC 8410: version 0, id-Ed25519, an octet string in an octet string; the seed follows.
constexpr std::string_view kPrivatePrefix("\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20", 16);

class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  Fd(const Fd&) = delete;
  ~Fd() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

}  // namespace

Result<std::string> read_base64(std::string_view text) {
  std::string bytes;
  std::uint32_t bits = 0;
  int count = 0;
  std::size_t padding = 0;
  for (const char c : text) {
    if (c == ' ' || c == '\n' || c == '\r' || c == '\t') continue;
    if (c == '=') {
      ++padding;
      continue;
    }
    int value = -1;
    if (c >= 'A' && c <= 'Z') value = c - 'A';
    if (c >= 'a' && c <= 'z') value = c - 'a' + 26;
    if (c >= '0' && c <= '9') value = c - '0' + 52;
    if (c == '+') value = 62;
    if (c == '/') value = 63;
    if (value < 0 || padding != 0) return Error(ErrorCode::invalid_argument, "not base64");
    bits = (bits << 6 | static_cast<std::uint32_t>(value)) & 0xffffff;
    count += 6;
    if (count >= 8) {
      count -= 8;
      bytes += static_cast<char>(bits >> count & 0xff);
    }
  }
  if (padding > 2 || count >= 6) return Error(ErrorCode::invalid_argument, "not base64: it ends too early");
  return bytes;
}

Result<sandbox::SigningKey> read_signing_key(const std::string& path) {
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) return Error::from_errno(errno, "sbx.key", path);
  struct stat info{};
  if (::fstat(file.get(), &info) != 0) return Error::from_errno(errno, "sbx.key", path);
  if ((info.st_mode & 077) != 0) return Error(ErrorCode::permission_denied, path + " can be read by others; chmod 600 it");
  std::string text(4096, '\0');
  const auto got = ::read(file.get(), text.data(), text.size());
  if (got < 0) return Error::from_errno(errno, "sbx.key", path);
  text.resize(static_cast<std::size_t>(got));
  const auto bad = [&] {
    return Error(ErrorCode::invalid_argument,
                 path + ": neither an Ed25519 key in PEM (openssl genpkey -algorithm ed25519) nor base64 of 32 bytes");
  };
  constexpr std::string_view kBegin = "-----BEGIN PRIVATE KEY-----", kEnd = "-----END PRIVATE KEY-----";
  std::string_view body = text;
  const auto begin = body.find(kBegin);
  if (begin != std::string_view::npos) {
    const auto end = body.find(kEnd);
    if (end == std::string_view::npos || end < begin) return bad();
    body = body.substr(begin + kBegin.size(), end - begin - kBegin.size());
  }
  auto bytes = read_base64(body);
  if (!bytes) {
    bytes.error().ignore("said better below");
    return bad();
  }
  std::string_view seed = *bytes;
  if (begin != std::string_view::npos) {
    if (!seed.starts_with(kPrivatePrefix)) return bad();
    seed.remove_prefix(kPrivatePrefix.size());
  }
  if (seed.size() != kSeed) return bad();
  return sandbox::SigningKey::from_seed(sandbox::as_bytes(seed));
}

Result<std::string> make_signing_key(const std::string& path) {
  std::array<char, kSeed> seed{};
  if (::getrandom(seed.data(), seed.size(), 0) != static_cast<ssize_t>(seed.size()))
    return Error::from_errno(errno, "sbx.key", "getrandom");
  const std::string_view bytes(seed.data(), seed.size());
  SANDBOX_TRY(const auto key, sandbox::SigningKey::from_seed(sandbox::as_bytes(bytes)));
  const Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (file.get() < 0) return Error::from_errno(errno, "sbx.key", path);
  const auto text = base64(bytes) + "\n";
  if (::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()) || ::fsync(file.get()) != 0) {
    return Error::from_errno(errno, "sbx.key", path);
  }
  return key.public_key();
}

}  // namespace sbx
