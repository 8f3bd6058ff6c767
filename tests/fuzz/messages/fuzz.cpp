// Every message: whatever decodes must encode to something that decodes to the same bytes. Byte 0 chooses the message;
// 255 is the frame header.
#include <cstdlib>

#include "protocol/frame.hpp"

namespace {

using namespace sandbox;
using namespace sandbox::protocol;

template <Message T>
void check(ByteView in) {
  const auto decoded = decode<T>(in);
  if (!decoded) {
    decoded.error().ignore("expected");
    return;
  }
  const std::string once = encode(*decoded);
  const auto again = decode<T>(as_bytes(once));
  if (!again || encode(*again) != once) std::abort();
}

template <Message... T>
void check_one(std::size_t which, ByteView in) {
  std::size_t i = 0;
  ((i++ == which ? check<T>(in) : void()), ...);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const ByteView in = std::as_bytes(std::span(data + 1, size - 1));
  if (data[0] == 255) {
    if (in.size() < kFrameHeader) return 0;
    const auto header = decode_header(in, 1 << 20);
    if (!header) {
      header.error().ignore("expected");
      return 0;
    }
    std::byte again[kFrameHeader];
    encode(*header, again);
    if (as_text(again) != as_text(in.first(kFrameHeader))) std::abort();
    return 0;
  }
  check_one<Hello, Open, End, ExecRequest, ExecControl, ExecStarted, ExecOutcome, FsPathRequest, FsReadRequest,
            FsReadResult, FsWriteRequest, FsWriteResult, FsEntry, FsEntries, FsRemoveRequest, FsMkdirRequest, FsPairRequest,
            FsChmodRequest, FsTarRequest, FsTarResult, FsFindRequest, FsWatchRequest, FsEvent, FsEvents, EnvRequest,
            EnvEntries, SessionRequest, Empty>(data[0], in);
  return 0;
}
