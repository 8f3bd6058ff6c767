#pragma once

#include <array>
#include <optional>
#include <string>

#include <sandbox/bytes.hpp>
#include <sandbox/result.hpp>

#include "tarstream/member.hpp"

namespace sandbox::tarstream {

/// Reads a tar stream that arrives in pieces of any size. Holds at most one header block, pending extensions
/// (≤ kMaxExtension each) and one Member.
class Reader {
 public:
  enum class Event : std::uint8_t {
    need_more,   ///< all of the input was used
    member,      ///< member() is new
    data,        ///< data() is the next piece of its content
    member_end,  ///< its content is complete (also follows members without content)
    end,         ///< the archive's end marker; anything that follows is padding and gets swallowed
  };

  /// The next event in `input`, which is shortened by what was used. Errors: corrupt (checksum, number, extension).
  /// After an error the reader stays failed.
  Result<Event> next(ByteView& input);
  /// Whether the stream may stop here: between members, with or without an end marker.
  Result<void> finish() const;

  const Member& member() const noexcept { return member_; }
  /// Valid until `input`'s memory goes away.
  ByteView data() const noexcept { return data_; }

 private:
  enum class State : std::uint8_t { header, sparse_map, extension, announce_end, content, skip_padding, ended, failed };

  /// What pax 'x' or 'g' headers and GNU 'L' and 'K' members said; applies to the next header (pax 'g': all of them).
  struct Overrides {
    std::optional<std::string> name, link;
    std::optional<std::uint64_t> size, uid, gid;
    std::optional<std::int64_t> modified_ns;
    bool sparse = false;
  };

  bool fill_block(ByteView& input);
  Result<Event> parse_header();
  Result<void> parse_extension();
  Result<void> parse_pax(std::string_view records, Overrides& into, bool global);
  Error corrupt(std::string what);

  State state_ = State::header;
  std::array<char, kBlock> block_;
  std::size_t block_used_ = 0;
  int zero_blocks_ = 0;
  char extension_type_ = 0;
  std::string extension_;
  std::uint64_t remaining_ = 0;   ///< of content or extension
  std::size_t padding_ = 0;
  bool after_extension_ = false;  ///< padding belongs to an extension: no member_end
  bool pending_extension_ = false;
  Overrides local_, global_;
  Member member_;
  ByteView data_;
};

}  // namespace sandbox::tarstream
