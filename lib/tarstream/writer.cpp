#include "tarstream/writer.hpp"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <string_view>

namespace sandbox::tarstream {

namespace {

constexpr std::uint64_t kMaxOctal8 = 07777777;        // 7 digits and a terminator
constexpr std::uint64_t kMaxOctal12 = 077777777777;   // 11 digits

std::string decimal(std::uint64_t value) {
  char text[24];
  const auto end = std::to_chars(text, text + sizeof text, value).ptr;
  return {text, end};
}

void put_octal(char* field, std::size_t size, std::uint64_t value) {
  field[size - 1] = '\0';
  for (std::size_t i = size - 1; i-- > 0; value >>= 3) field[i] = static_cast<char>('0' + (value & 7));
}

void put_text(char* field, std::size_t size, std::string_view text) {
  std::copy_n(text.begin(), std::min(size, text.size()), field);
}

/// One pax record; its length counts its own digits.
void add_record(std::string& records, std::string_view key, std::string_view value) {
  const std::size_t rest = key.size() + value.size() + 3;  // space, '=', newline
  std::size_t length = rest + 1;
  while (rest + decimal(length).size() != length) length = rest + decimal(length).size();
  records += decimal(length);
  records += ' ';
  records += key;
  records += '=';
  records += value;
  records += '\n';
}

char type_of(Kind kind) {
  switch (kind) {
    case Kind::hardlink: return '1';
    case Kind::symlink: return '2';
    case Kind::character: return '3';
    case Kind::block: return '4';
    case Kind::directory: return '5';
    case Kind::fifo: return '6';
    default: return '0';
  }
}

/// Where `name` can be cut so that ustar's prefix and name fields hold it; 0: nowhere (or no cut needed).
std::size_t split_point(std::string_view name) {
  const auto cut = name.substr(0, 156).rfind('/');
  if (cut == std::string_view::npos || cut == 0 || name.size() - cut - 1 > 100 || cut + 1 == name.size()) return 0;
  return cut;
}

bool valid_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const std::size_t more = lead < 0x80 ? 0 : lead >= 0xc2 && lead < 0xe0 ? 1 : (lead & 0xf0) == 0xe0 ? 2
                             : lead >= 0xf0 && lead < 0xf5 ? 3 : 9;
    if (more == 9 || i + more >= text.size() + (more == 0)) return false;
    for (std::size_t k = 1; k <= more; ++k)
      if ((static_cast<unsigned char>(text[i + k]) & 0xc0) != 0x80) return false;
    i += more + 1;
  }
  return true;
}

/// One 512-byte header, checksum included.
void add_block(std::string& out, std::string_view prefix, std::string_view name, std::string_view link, char type,
               const Member& member, std::uint64_t size) {
  const std::size_t start = out.size();
  out.resize(start + kBlock, '\0');
  char* h = out.data() + start;
  const auto fit = [](std::uint64_t value, std::uint64_t most) { return value <= most ? value : 0; };
  put_text(h, 100, name);
  put_octal(h + 100, 8, member.mode & 07777);
  put_octal(h + 108, 8, fit(member.uid, kMaxOctal8));
  put_octal(h + 116, 8, fit(member.gid, kMaxOctal8));
  put_octal(h + 124, 12, fit(size, kMaxOctal12));
  put_octal(h + 136, 12, member.modified_ns < 0 ? 0 : fit(member.modified_ns / 1'000'000'000, kMaxOctal12));
  h[156] = type;
  put_text(h + 157, 100, link);
  std::memcpy(h + 257, "ustar\00000", 8);
  put_octal(h + 329, 8, fit(member.major, kMaxOctal8));
  put_octal(h + 337, 8, fit(member.minor, kMaxOctal8));
  put_text(h + 345, 155, prefix);
  std::memset(h + 148, ' ', 8);
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < kBlock; ++i) sum += static_cast<unsigned char>(h[i]);
  put_octal(h + 148, 7, sum);  // six digits, NUL, and the space stays
}

std::string time_text(std::int64_t ns) {
  std::int64_t seconds = ns / 1'000'000'000, fraction = ns % 1'000'000'000;
  std::string text = ns < 0 ? "-" : "";
  text += decimal(static_cast<std::uint64_t>(seconds < 0 ? -seconds : seconds));
  if (fraction) {
    std::string digits = decimal(static_cast<std::uint64_t>(fraction < 0 ? -fraction : fraction));
    text += '.';
    text.append(9 - digits.size(), '0');
    text += digits;
    while (text.back() == '0') text.pop_back();
  }
  return text;
}

}  // namespace

std::string encode_header(const Member& member) {
  std::string name = member.name;
  if (member.kind == Kind::directory && !name.ends_with('/')) name += '/';
  const bool has_content = member.kind == Kind::file || member.kind == Kind::other;
  const std::uint64_t size = has_content ? member.size : 0;

  std::string records;
  std::string_view prefix, rest = name;
  bool pax_name = false, pax_link = false;
  if (name.size() > 100) {
    if (const auto cut = split_point(name)) {
      prefix = rest.substr(0, cut);
      rest.remove_prefix(cut + 1);
    } else {
      pax_name = true;
    }
  }
  pax_link = member.link.size() > 100;
  // Pax text is UTF-8 unless it says otherwise.
  if ((pax_name && !valid_utf8(name)) || (pax_link && !valid_utf8(member.link))) add_record(records, "hdrcharset", "BINARY");
  if (pax_name) add_record(records, "path", name);
  if (pax_link) add_record(records, "linkpath", member.link);
  if (size > kMaxOctal12) add_record(records, "size", decimal(size));
  if (member.uid > kMaxOctal8) add_record(records, "uid", decimal(member.uid));
  if (member.gid > kMaxOctal8) add_record(records, "gid", decimal(member.gid));
  if (member.modified_ns < 0 || member.modified_ns % 1'000'000'000 != 0 ||
      static_cast<std::uint64_t>(member.modified_ns) / 1'000'000'000 > kMaxOctal12)
    add_record(records, "mtime", time_text(member.modified_ns));

  std::string out;
  if (!records.empty()) {
    Member extension;
    extension.mode = 0644;
    add_block(out, {}, "PaxHeader", {}, 'x', extension, records.size());
    out += records;
    out.append(padding(records.size()), '\0');
  }
  add_block(out, prefix, rest, std::string_view(member.link).substr(0, 100), type_of(member.kind), member, size);
  return out;
}

}  // namespace sandbox::tarstream
