#include "support/sync_points.hpp"

#include <elf.h>

#include <cstring>
#include <fstream>
#include <stdexcept>
#include <string_view>

namespace sandbox::testing {
namespace {

/// Bytes of a file with bounds: a truncated program is an error, not a crash.
class Image {
 public:
  explicit Image(const std::string& path) : path_(path) {
    std::ifstream in(path, std::ios::binary | std::ios::ate);
    if (!in) throw std::runtime_error(path + " cannot be read");
    bytes_.resize(static_cast<std::size_t>(in.tellg()));
    in.seekg(0);
    in.read(bytes_.data(), static_cast<std::streamsize>(bytes_.size()));
  }
  template <class T>
  T at(std::uint64_t offset) const {
    T value;
    std::memcpy(&value, span(offset, sizeof value).data(), sizeof value);
    return value;
  }
  std::string_view span(std::uint64_t offset, std::uint64_t size) const {
    if (offset > bytes_.size() || size > bytes_.size() - offset) throw std::runtime_error(path_ + " is not a whole ELF program");
    return std::string_view(bytes_).substr(offset, size);
  }

 private:
  std::string path_, bytes_;
};

constexpr std::uint64_t aligned(std::uint64_t size) { return (size + 3) & ~std::uint64_t{3}; }

/// One section of notes: owner "stapsdt", type 3, {address, base, semaphore, "provider", "name", "arguments"}.
void read_notes(const Image& image, const Elf64_Shdr& section, std::map<std::string, std::vector<std::uint64_t>>& points) {
  const std::uint64_t end = section.sh_offset + section.sh_size;
  for (std::uint64_t at = section.sh_offset; at + sizeof(Elf64_Nhdr) <= end;) {
    const auto head = image.at<Elf64_Nhdr>(at);
    const std::uint64_t owner = at + sizeof head, body = owner + aligned(head.n_namesz);
    at = body + aligned(head.n_descsz);
    if (head.n_type != 3 || head.n_descsz < 24 || image.span(owner, head.n_namesz) != std::string_view("stapsdt\0", 8)) continue;
    const std::string_view words = image.span(body + 24, head.n_descsz - 24);
    const auto provider = words.substr(0, words.find('\0'));
    const auto rest = words.substr(std::min(words.size(), provider.size() + 1));
    if (provider == "sandbox") points[std::string(rest.substr(0, rest.find('\0')))].push_back(image.at<std::uint64_t>(body));
  }
}

}  // namespace

std::map<std::string, std::vector<std::uint64_t>> sync_points(const std::string& program) {
  const Image image(program);
  const auto head = image.at<Elf64_Ehdr>(0);
  if (std::memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 || head.e_ident[EI_CLASS] != ELFCLASS64 || head.e_shentsize != sizeof(Elf64_Shdr))
    throw std::runtime_error(program + " is not a 64-bit ELF program");
  std::map<std::string, std::vector<std::uint64_t>> points;
  const auto names = image.at<Elf64_Shdr>(head.e_shoff + head.e_shstrndx * sizeof(Elf64_Shdr));
  for (unsigned i = 0; i < head.e_shnum; ++i) {
    const auto section = image.at<Elf64_Shdr>(head.e_shoff + i * sizeof(Elf64_Shdr));
    if (section.sh_type != SHT_NOTE) continue;
    constexpr std::string_view kName(".note.stapsdt\0", 14);
    if (image.span(names.sh_offset + section.sh_name, kName.size()) == kName) read_notes(image, section, points);
  }
  return points;
}

}  // namespace sandbox::testing
