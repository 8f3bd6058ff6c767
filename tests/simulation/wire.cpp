#include "simulation/wire.hpp"

#include <algorithm>
#include <utility>

#include "protocol/frame.hpp"

namespace sandbox::simulation {
namespace {

using protocol::FrameType;

bool of_frames(Mutation mutation) {
  switch (mutation) {
    case Mutation::flip_data:
    case Mutation::repeat_frame:
    case Mutation::drop_frame:
    case Mutation::swap_frames:
    case Mutation::repeat_after_resume:
    case Mutation::skip_after_resume:
    case Mutation::invent_end:
    case Mutation::withhold_credit: return true;
    default: return false;
  }
}

}  // namespace

std::size_t Pipe::put(ByteView bytes) {
  if (ended_) return bytes.size();
  const std::size_t room = capacity_ > bytes_.size() ? capacity_ - bytes_.size() : 0;
  const std::size_t taken = std::min(random_.size(bytes.size()), room);
  const std::string_view text = as_text(bytes.first(taken));
  if (plain_ && of_frames(ledger_.mutation)) {
    tap(text);
    return taken;
  }
  bytes_ += text;
  if (ledger_.mutation == Mutation::drop_byte && ledger_.counters.applied == 0 && bytes_.size() > 30 && random_.chance(50)) {
    bytes_.erase(random_.below(bytes_.size()), 1);
    ++ledger_.counters.applied;
  }
  return taken;
}

std::string Pipe::take(std::size_t count) {
  std::string part = bytes_.substr(0, count);
  bytes_.erase(0, count);
  return part;
}

void Pipe::end(std::size_t kept) {
  if (kept < bytes_.size()) bytes_.resize(kept);
  ended_ = true;
}

void Pipe::tap(std::string_view written) {
  tapped_ += written;
  while (tapped_.size() >= protocol::kFrameHeader) {
    const auto header = protocol::decode_header(as_bytes(std::string_view(tapped_)), protocol::kMaxMaxFrame);
    if (!header) {
      ledger_.fail("an end wrote something that is no frame: " + header.error().message());
      return;
    }
    const std::size_t size = protocol::kFrameHeader + header->length;
    if (tapped_.size() < size) return;
    frame(tapped_.substr(0, size));
    tapped_.erase(0, size);
  }
}

/// A whole frame was written; what arrives of it is the mutation's business.
void Pipe::frame(std::string whole) {
  const auto bytes = as_bytes(std::string_view(whole));
  protocol::FrameHeader header = protocol::decode_header(bytes, protocol::kMaxMaxFrame).value();
  const bool first = ledger_.counters.applied == 0;
  const bool content = header.type == FrameType::data || header.type == FrameType::message;
  const auto apply = [&](unsigned of_a_thousand) {
    if (!first || !random_.chance(of_a_thousand)) return false;
    ++ledger_.counters.applied;
    return true;
  };
  const auto rewrite = [&] { protocol::encode(header, reinterpret_cast<std::byte*>(whole.data())); };
  switch (ledger_.mutation) {
    case Mutation::flip_data:
      if (header.type == FrameType::data && header.length > 0 && !(header.flags & protocol::kZstd) && apply(300))
        whole[protocol::kFrameHeader + random_.below(header.length)] ^= 0x20;
      break;
    case Mutation::repeat_frame:
      if (content && apply(300)) bytes_ += whole;
      break;
    case Mutation::drop_frame:
      if ((content || header.type == FrameType::end) && apply(300)) return;
      break;
    case Mutation::swap_frames:
      // Of one stream and kind: frames of different streams may overtake each other.
      if (!held_.empty() && held_[4] == whole[4] && held_.compare(6, 6, whole, 6, 6) == 0) {
        bytes_ += whole + std::exchange(held_, {});
        return;
      }
      if (held_.empty() && content && apply(300)) {
        held_ = whole;
        return;
      }
      break;
    case Mutation::repeat_after_resume:
      if (header.type == FrameType::resume && header.offset > 0 && apply(1000)) --header.offset, rewrite();
      break;
    case Mutation::skip_after_resume:
      if (header.type == FrameType::resume && apply(1000)) ++header.offset, rewrite();
      break;
    case Mutation::invent_end:
      if (!to_agent_ && header.type == FrameType::data && apply(300)) {
        header = {.type = FrameType::end, .stream = header.stream};
        const std::string payload = protocol::encode(protocol::End{.result = "invented"});
        header.length = static_cast<std::uint32_t>(payload.size());
        whole.assign(protocol::kFrameHeader, '\0');
        rewrite();
        whole += payload;
      }
      break;
    case Mutation::withhold_credit:
      if (header.type != FrameType::credit) break;
      // The frame itself is counted; one that says nothing takes its place.
      ++ledger_.counters.applied;
      header.offset = 0;
      return;
    default: break;
  }
  bytes_ += whole;
}

}  // namespace sandbox::simulation
