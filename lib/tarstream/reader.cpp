#include "tarstream/reader.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <string_view>

#include "core/text.hpp"

namespace sandbox::tarstream {

namespace {

// Offsets of the ustar header (POSIX.1-2017, pax, table 4-14) and of the GNU sparse additions.
struct Field {
  std::size_t offset, size;
};
constexpr Field kName{0, 100}, kMode{100, 8}, kUid{108, 8}, kGid{116, 8}, kSize{124, 12}, kTime{136, 12},
    kChecksum{148, 8}, kLink{157, 100}, kMajor{329, 8}, kMinor{337, 8}, kPrefix{345, 155};
constexpr std::size_t kType = 156, kMagic = 257, kGnuIsExtended = 482, kGnuMapIsExtended = 504;

using Block = std::array<char, kBlock>;

std::string_view text_of(const Block& block, Field field) {
  const std::string_view all(block.data() + field.offset, field.size);
  return all.substr(0, all.find('\0'));
}

/// Octal text, or GNU base-256 when the first bit is set. Nothing when it is neither or does not fit.
std::optional<std::int64_t> number_of(const Block& block, Field field) {
  const char* p = block.data() + field.offset;
  const auto first = static_cast<unsigned char>(p[0]);
  if (first & 0x80) {
    const bool negative = first & 0x40;
    // Two's complement over the field without its marker bit; the upper bytes must be pure sign extension.
    std::uint64_t value = negative ? ~std::uint64_t{0} : 0;
    for (std::size_t i = 0; i < field.size; ++i) {
      auto byte = static_cast<unsigned char>(p[i]);
      if (i == 0) byte = negative ? static_cast<unsigned char>(byte | 0x80) : static_cast<unsigned char>(byte & 0x7f);
      const auto top = static_cast<unsigned char>(value >> 56);
      if (top != (negative ? 0xff : 0)) return std::nullopt;
      value = value << 8 | byte;
    }
    const auto number = static_cast<std::int64_t>(value);
    if ((number < 0) != negative) return std::nullopt;
    return number;
  }
  std::size_t i = 0;
  while (i < field.size && p[i] == ' ') ++i;
  std::int64_t value = 0;
  for (; i < field.size && p[i] != '\0' && p[i] != ' '; ++i) {
    if (p[i] < '0' || p[i] > '7') return std::nullopt;
    value = value * 8 + (p[i] - '0');  // at most 12 digits: 36 bits
  }
  return value;
}

bool checksum_fits(const Block& block) {
  const auto stored = number_of(block, kChecksum);
  if (!stored) return false;
  std::int64_t as_unsigned = 0, as_signed = 0;  // some historic writers summed signed chars
  for (std::size_t i = 0; i < kBlock; ++i) {
    const bool inside = i >= kChecksum.offset && i < kChecksum.offset + kChecksum.size;
    const char c = inside ? ' ' : block[i];
    as_unsigned += static_cast<unsigned char>(c);
    as_signed += static_cast<signed char>(c);
  }
  return *stored == as_unsigned || *stored == as_signed;
}

/// Seconds with an optional fraction ("1700000000.25", "-1.5") in nanoseconds.
std::optional<std::int64_t> pax_time(std::string_view text) {
  const bool negative = text.starts_with('-');
  if (negative) text.remove_prefix(1);
  const auto dot = text.find('.');
  const auto seconds = core::parse_number<std::uint64_t>(text.substr(0, dot));
  if (!seconds || *seconds > std::uint64_t{std::numeric_limits<std::int64_t>::max()} / 1'000'000'000 - 1) return std::nullopt;
  std::int64_t nanoseconds = 0, unit = 100'000'000;
  if (dot != std::string_view::npos) {
    for (const char c : text.substr(dot + 1)) {
      if (c < '0' || c > '9') return std::nullopt;
      nanoseconds += (c - '0') * unit;
      unit /= 10;
    }
  }
  const std::int64_t total = static_cast<std::int64_t>(*seconds) * 1'000'000'000 + nanoseconds;
  return negative ? -total : total;
}

bool all_zero(const Block& block) {
  return std::all_of(block.begin(), block.end(), [](char c) { return c == '\0'; });
}

}  // namespace

Error Reader::corrupt(std::string what) {
  state_ = State::failed;
  return Error(ErrorCode::corrupt, "tar: " + std::move(what));
}

bool Reader::fill_block(ByteView& input) {
  const auto take = std::min(kBlock - block_used_, input.size());
  if (take) std::memcpy(block_.data() + block_used_, input.data(), take);
  block_used_ += take;
  input = input.subspan(take);
  if (block_used_ < kBlock) return false;
  block_used_ = 0;
  return true;
}

Result<Reader::Event> Reader::next(ByteView& input) {
  for (;;) {
    switch (state_) {
      case State::header: {
        if (!fill_block(input)) return Event::need_more;
        SANDBOX_TRY(const Event event, parse_header());
        if (event != Event::need_more) return event;
        break;
      }
      case State::sparse_map:
        if (!fill_block(input)) return Event::need_more;
        if (block_[kGnuMapIsExtended] == 0) {
          state_ = State::content;
          return Event::member;
        }
        break;
      case State::extension: {
        const auto take = static_cast<std::size_t>(std::min<std::uint64_t>(remaining_, input.size()));
        extension_.append(as_text(input.first(take)));
        input = input.subspan(take);
        remaining_ -= take;
        if (remaining_) return Event::need_more;
        SANDBOX_CHECK(parse_extension());
        after_extension_ = true;
        state_ = State::skip_padding;
        break;
      }
      case State::content: {
        if (!remaining_) {
          after_extension_ = false;
          state_ = State::skip_padding;
          break;
        }
        if (input.empty()) return Event::need_more;
        const auto take = static_cast<std::size_t>(std::min<std::uint64_t>(remaining_, input.size()));
        data_ = input.first(take);
        input = input.subspan(take);
        remaining_ -= take;
        return Event::data;
      }
      case State::skip_padding: {
        const auto take = std::min(padding_, input.size());
        input = input.subspan(take);
        padding_ -= take;
        if (padding_) return Event::need_more;
        state_ = State::header;
        if (!after_extension_) return Event::member_end;
        break;
      }
      case State::announce_end:
        state_ = State::ended;
        return Event::end;
      case State::ended:
        input = {};
        return Event::need_more;
      case State::failed:
        return Error(ErrorCode::corrupt, "tar: the stream was found corrupt before");
    }
  }
}

Result<void> Reader::finish() const {
  if (state_ == State::ended || state_ == State::announce_end) return {};
  if (state_ == State::header && block_used_ == 0 && !pending_extension_) return {};
  if (state_ == State::failed) return Error(ErrorCode::corrupt, "tar: the stream was found corrupt before");
  return Error(ErrorCode::corrupt, "tar: the stream ends inside a member");
}

Result<Reader::Event> Reader::parse_header() {
  if (all_zero(block_)) {
    if (++zero_blocks_ == 2) state_ = State::announce_end;
    return Event::need_more;
  }
  if (zero_blocks_) return corrupt("a lone zero block");
  if (!checksum_fits(block_)) return corrupt("header checksum does not match");

  const bool ustar = std::memcmp(block_.data() + kMagic, "ustar\0", 6) == 0;
  const bool gnu = std::memcmp(block_.data() + kMagic, "ustar  ", 8) == 0;
  const char type = block_[kType];
  auto size = number_of(block_, kSize);
  if (!size || *size < 0) return corrupt("header has no valid size");

  if (type == 'x' || type == 'X' || type == 'g' || type == 'L' || type == 'K') {
    if (static_cast<std::uint64_t>(*size) > kMaxExtension) return corrupt("extended header is too long");
    extension_type_ = type;
    extension_.clear();
    remaining_ = static_cast<std::uint64_t>(*size);
    padding_ = padding(remaining_);
    pending_extension_ = type != 'g';
    state_ = State::extension;
    return Event::need_more;
  }
  pending_extension_ = false;

  Member member;
  if (local_.name) {
    member.name = std::move(*local_.name);
  } else {
    const auto prefix = ustar ? text_of(block_, kPrefix) : std::string_view();
    member.name = prefix;
    if (!prefix.empty()) member.name += '/';
    member.name += text_of(block_, kName);
  }
  member.link = local_.link ? std::move(*local_.link) : std::string(text_of(block_, kLink));
  const auto number = [&](Field field) { return number_of(block_, field).value_or(0); };
  member.mode = static_cast<std::uint32_t>(number(kMode)) & 07777;
  member.uid = local_.uid ? *local_.uid : global_.uid ? *global_.uid : static_cast<std::uint64_t>(number(kUid));
  member.gid = local_.gid ? *local_.gid : global_.gid ? *global_.gid : static_cast<std::uint64_t>(number(kGid));
  if (local_.modified_ns) {
    member.modified_ns = *local_.modified_ns;
  } else if (global_.modified_ns) {
    member.modified_ns = *global_.modified_ns;
  } else {
    const auto seconds = number(kTime);
    constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max() / 1'000'000'000;
    if (seconds < kMost && seconds > -kMost) member.modified_ns = seconds * 1'000'000'000;
  }
  member.major = static_cast<std::uint32_t>(number(kMajor));
  member.minor = static_cast<std::uint32_t>(number(kMinor));

  bool has_content = true;
  switch (type) {
    case '\0': case '0': case '7':
      // Before ustar a directory was a file whose name ends in a slash.
      member.kind = member.name.ends_with('/') ? Kind::directory : Kind::file;
      break;
    case '1': member.kind = Kind::hardlink; has_content = false; break;
    case '2': member.kind = Kind::symlink; has_content = false; break;
    case '3': member.kind = Kind::character; has_content = false; break;
    case '4': member.kind = Kind::block; has_content = false; break;
    case '5': member.kind = Kind::directory; has_content = false; break;
    case '6': member.kind = Kind::fifo; has_content = false; break;
    default: member.kind = Kind::other; break;
  }
  if (local_.sparse && member.kind == Kind::file) member.kind = Kind::other;
  // The header's own size is 0 where pax gives a larger one. Links and devices have none whatever the field says.
  member.size = has_content ? local_.size.value_or(static_cast<std::uint64_t>(*size)) : 0;
  while (member.name.size() > 1 && member.name.ends_with('/')) member.name.pop_back();
  if (member.name.size() > kMaxName || member.link.size() > kMaxName) return corrupt("name is too long");

  remaining_ = member.size;
  padding_ = padding(member.size);
  member_ = std::move(member);
  local_ = {};
  state_ = State::content;
  if (gnu && type == 'S' && block_[kGnuIsExtended] != 0) {
    state_ = State::sparse_map;
    return Event::need_more;
  }
  return Event::member;
}

Result<void> Reader::parse_extension() {
  switch (extension_type_) {
    case 'L': case 'K': {
      std::string text = extension_.substr(0, extension_.find('\0'));
      (extension_type_ == 'L' ? local_.name : local_.link) = std::move(text);
      break;
    }
    case 'g': SANDBOX_CHECK(parse_pax(extension_, global_, true)); break;
    default: SANDBOX_CHECK(parse_pax(extension_, local_, false)); break;
  }
  extension_.clear();
  extension_.shrink_to_fit();
  return {};
}

Result<void> Reader::parse_pax(std::string_view records, Overrides& into, bool global) {
  // "%d %s=%s\n", the number being the length of the whole record.
  while (!records.empty()) {
    const auto space = records.find(' ');
    if (space == std::string_view::npos || space == 0 || space > 8) return corrupt("malformed pax record");
    const auto length = core::parse_number<std::uint32_t>(records.substr(0, space));
    if (!length || *length > records.size() || *length < space + 3 || records[*length - 1] != '\n')
      return corrupt("malformed pax record");
    const std::string_view record = records.substr(space + 1, *length - space - 2);
    records.remove_prefix(*length);
    const auto equals = record.find('=');
    if (equals == std::string_view::npos || equals == 0) return corrupt("malformed pax record");
    const auto key = record.substr(0, equals);
    const auto value = record.substr(equals + 1);

    const auto number = [&](std::optional<std::uint64_t>& out) -> bool {
      if (value.empty()) {
        out.reset();
        return true;
      }
      const auto parsed = core::parse_number<std::uint64_t>(value);
      if (!parsed || *parsed > std::uint64_t{std::numeric_limits<std::int64_t>::max()}) return false;
      out = *parsed;
      return true;
    };
    const auto name = [&](std::optional<std::string>& out) -> bool {
      if (value.find('\0') != std::string_view::npos) return false;
      if (value.empty()) out.reset();
      else out = std::string(value);
      return true;
    };
    bool good = true;
    if (key == "uid") good = number(into.uid);
    else if (key == "gid") good = number(into.gid);
    else if (key == "mtime") {
      into.modified_ns = value.empty() ? std::nullopt : pax_time(value);
      good = value.empty() || into.modified_ns;
    } else if (global) {
      continue;  // a name or size for every member makes no sense
    } else if (key == "path") good = name(into.name);
    else if (key == "linkpath") good = name(into.link);
    else if (key == "size") good = number(into.size);
    else if (key.starts_with("GNU.sparse.")) into.sparse = true;
    if (!good) return corrupt("invalid pax value of " + core::escape_control(key));
  }
  return {};
}

}  // namespace sandbox::tarstream
