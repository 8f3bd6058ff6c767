// The client's reader of an event stream, and of the events in it. Byte 0: size of the pieces. However a stream is cut, the
// same events come out; none is larger than the limit or has a line break in its type or id.
#include <cstdlib>
#include <deque>
#include <span>
#include <string>

#include "client/event_source.hpp"
#include "rest/rest.hpp"

namespace {

using namespace sandbox;
using client::SseParser;

std::string read(std::string_view in, std::size_t piece) {
  SseParser parser;
  std::deque<SseParser::Event> events;
  std::string story;
  for (std::size_t at = 0; at < in.size(); at += piece) {
    const auto fed = parser.feed(in.substr(at, piece), events);
    if (fed) continue;
    fed.error().ignore("expected");
    story = "!";
    break;
  }
  for (const SseParser::Event& event : events) {
    if (event.data.size() > SseParser::kMaxEvent) std::abort();
    if ((event.type + event.id).find_first_of("\r\n") != std::string::npos) std::abort();
    story += "[" + event.type + "|" + event.id + "|" + event.data + "]";
  }
  return story;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view in = as_text(std::as_bytes(std::span(data + 1, size - 1)));
  if (read(in, in.size() + 1) != read(in, data[0] % 16u + 1)) std::abort();
  return 0;
}
