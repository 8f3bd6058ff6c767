// Archives of strangers through the real extraction, into a directory of their own. Byte 0: bits 0–1 as it is, or the
// rest is packed with gzip or zstd first (so that what is inside gets mutated); bit 2 overlay whiteouts. Byte 1: size
// of the pieces. Whatever the archive says: nothing appears beside the directory, nothing in it is a device or setuid,
// and limits hold.
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include <cstdlib>
#include <cstring>
#include <span>
#include <string>

#include "../scratch.hpp"
#include "image/unpack.hpp"

namespace {

using namespace sandbox;

constexpr std::uint64_t kMaxBytes = 1 << 20, kMaxEntries = 200;

[[noreturn]] void wrong() { std::abort(); }

/// A directory with a neighbour that nobody may touch.
struct Place : fuzz::Scratch {
  Place() {
    if (::mkdir((path() + "/neighbour").c_str(), 0700) != 0) wrong();
  }
};

int files = 0;
int check_file(const char*, const struct stat* status, int, FTW*) {
  if (!S_ISREG(status->st_mode) && !S_ISDIR(status->st_mode) && !S_ISLNK(status->st_mode)) wrong();
  if (status->st_mode & (S_ISUID | S_ISGID)) wrong();
  ++files;
  return 0;
}
int check_whiteouts(const char*, const struct stat* status, int, FTW*) {
  if (S_ISCHR(status->st_mode) && status->st_rdev != 0) wrong();
  if (S_ISBLK(status->st_mode) || S_ISFIFO(status->st_mode) || S_ISSOCK(status->st_mode) ||
      (status->st_mode & (S_ISUID | S_ISGID) && !S_ISDIR(status->st_mode)))
    wrong();
  return 0;
}

int entries(const std::string& path) {
  DIR* directory = ::opendir(path.c_str());
  if (!directory) wrong();
  int count = 0;
  while (const dirent* entry = ::readdir(directory))
    count += std::strcmp(entry->d_name, ".") != 0 && std::strcmp(entry->d_name, "..") != 0;
  ::closedir(directory);
  return count;
}

/// gzip with stored blocks: no compressor, the same bytes to the reader.
std::string gzip(std::string_view plain) {
  std::string out("\x1f\x8b\x08\0\0\0\0\0\0\3", 10);
  std::uint32_t crc = ~0u;
  for (const char c : plain) {
    crc ^= static_cast<unsigned char>(c);
    for (int i = 0; i < 8; ++i) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
  }
  const auto put = [&out](std::uint32_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> 8 * i & 0xff);
  };
  std::string_view rest = plain;
  do {
    const auto part = rest.substr(0, 60000);
    rest.remove_prefix(part.size());
    out += static_cast<char>(rest.empty() ? 1 : 0);
    put(static_cast<std::uint32_t>(part.size()), 2);
    put(~static_cast<std::uint32_t>(part.size()), 2);
    out += part;
  } while (!rest.empty());
  put(~crc, 4);
  put(static_cast<std::uint32_t>(plain.size()), 4);
  return out;
}

std::string zstd(std::string_view plain) {
  std::string out(ZSTD_compressBound(plain.size()), '\0');
  const std::size_t size = ZSTD_compress(out.data(), out.size(), plain.data(), plain.size(), 1);
  if (ZSTD_isError(size)) wrong();
  out.resize(size);
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2 || size > 64 << 10) return 0;
  static const Place scratch;
  const std::string_view plain = as_text(std::as_bytes(std::span(data + 2, size - 2)));
  const int packing = data[0] & 3;
  const std::string archive = packing == 1 ? gzip(plain) : packing == 2 ? zstd(plain) : std::string(plain);

  const std::string root = scratch.path() + "/root";
  if (::mkdir(root.c_str(), 0755) != 0) wrong();
  const int directory = ::open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) wrong();
  std::size_t at = 0;
  const std::size_t piece = data[1] * 16u + 1;
  const image::Source source = [&](std::span<std::byte> buffer) -> Result<std::size_t> {
    const std::size_t part = std::min({piece, buffer.size(), archive.size() - at});
    std::memcpy(buffer.data(), archive.data() + at, part);
    at += part;
    return part;
  };
  image::UnpackOptions options;
  options.limits = {kMaxEntries, kMaxBytes, 1000, 1 << 16};
  options.overlay_whiteouts = data[0] & 4;
  const auto result = image::unpack(source, directory, options);
  ::close(directory);
  if (result) {
    if (result->entries > kMaxEntries || result->bytes > kMaxBytes) wrong();
  } else {
    result.error().ignore("expected");
  }
  ::nftw(root.c_str(), options.overlay_whiteouts ? check_whiteouts : check_file, 16, FTW_PHYS);
  if (entries(scratch.path()) != 2 || entries(scratch.path() + "/neighbour") != 0) wrong();
  fuzz::Scratch::clear(root);
  return 0;
}
