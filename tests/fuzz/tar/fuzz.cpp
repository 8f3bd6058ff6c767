// The tar reader: however a stream is cut into pieces, it says the same; and what it says of a member can be written and
// read again. Byte 0 chooses the size of the pieces.
#include <algorithm>
#include <cstdlib>
#include <span>
#include <string>

#include "tarstream/reader.hpp"
#include "tarstream/writer.hpp"

namespace {

using namespace sandbox;
using namespace sandbox::tarstream;

/// Everything a reader reports of `in`, as text.
std::string story(ByteView in, std::size_t piece) {
  Reader reader;
  std::string text;
  while (!in.empty()) {
    ByteView part = in.first(std::min(piece, in.size()));
    in = in.subspan(part.size());
    for (;;) {
      const std::size_t before = part.size();
      auto event = reader.next(part);
      if (!event) {
        event.error().ignore("expected");
        return text + "!";
      }
      if (part.size() > before) std::abort();
      if (*event == Reader::Event::need_more) {
        if (!part.empty()) std::abort();
        break;
      }
      if (*event == Reader::Event::member) {
        const auto& m = reader.member();
        if (m.name.size() > kMaxName || m.link.size() > kMaxName) std::abort();
        text += "\nM" + std::to_string(int(m.kind)) + m.name + "|" + m.link + "|" + std::to_string(m.size) + "|" + std::to_string(m.mode);
      } else if (*event == Reader::Event::data) {
        if (reader.data().empty()) std::abort();
        text += as_text(reader.data());
      } else {
        text += *event == Reader::Event::end ? "E" : "e";
      }
    }
  }
  const auto finished = reader.finish();
  if (!finished) finished.error().ignore("expected");
  return text + (finished ? "." : "?");
}

void rewrite(ByteView in) {
  Reader reader;
  for (;;) {
    auto event = reader.next(in);
    if (!event) return event.error().ignore("expected");
    if (*event == Reader::Event::need_more) return;
    if (*event != Reader::Event::member) continue;
    const Member member = reader.member();
    if (member.kind == Kind::other) continue;
    const std::string header = encode_header(member);
    if (header.size() % kBlock) std::abort();
    Reader again;
    ByteView bytes = as_bytes(header);
    auto read = again.next(bytes);
    if (!read) {
      // Only a name that does not fit an extended header's bounds may be refused.
      if (member.name.size() + member.link.size() < kMaxName && !member.name.empty()) std::abort();
      read.error().ignore("expected");
      continue;
    }
    if (*read != Reader::Event::member || again.member().mode != member.mode || again.member().size != member.size) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const ByteView in = std::as_bytes(std::span(data + 1, size - 1));
  if (story(in, std::size_t{1} << 20) != story(in, data[0] + 1u)) std::abort();
  rewrite(in);
  return 0;
}
