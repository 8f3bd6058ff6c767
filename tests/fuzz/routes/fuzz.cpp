// From the bytes of a request to a decoded route, as the daemon does it. Byte 0: bit 0 asks for an upgrade, bit 1 the input is a
// path for GET instead of a request, bit 2 it is the agent's end of a v1 relay (frames), with byte 1 as the size of its pieces.
#include <cstdlib>
#include <span>
#include <string>

#include "http/parser.hpp"
#include "server/router.hpp"
#include "server/v1_frames.hpp"

namespace {

using namespace sandbox;
using namespace sandbox::server;

[[noreturn]] void wrong() { std::abort(); }

void check_route(std::string_view method, std::string_view path, bool websocket) {
  const Match match = match_route(method, path, websocket);
  const Match again = match_route(method, path, websocket);
  if (match.kind != again.kind || match.id != again.id || match.port != again.port || match.rest != again.rest) wrong();
  switch (match.kind) {
    case Match::Kind::route:
      // What handlers put into paths and logs: one component, not a way out of it.
      if (match.pattern == "other") wrong();
      if (match.id == "." || match.id == "..") wrong();
      if (match.route == Route::proxy_port && (match.rest.empty() || match.rest.front() != '/')) wrong();
      if (match.route == Route::destroy_sandbox && (match.id.empty() || match.guard == Guard::none)) wrong();
      if ((match.route == Route::resize_pool || match.route == Route::flush_pool) && match.guard != Guard::admin) wrong();
      return;
    case Match::Kind::not_found: return;
    case Match::Kind::wrong_method:
      if (match.allow.empty()) wrong();
      return;
    case Match::Kind::redirect: {
      // The clean path is clean: it does not lead on to another one, nor to another host.
      if (match.location.empty() || match.location.front() != '/' || match.location.starts_with("//")) wrong();
      if (match.location.find_first_of(std::string_view("\r\n\0", 3)) != std::string::npos) wrong();
      if (match_route(method, match.location, websocket).kind == Match::Kind::redirect) wrong();
      return;
    }
  }
}

void check_request(std::string_view in, bool websocket) {
  http::Parser parser(http::Parser::Kind::request, 4096);
  for (;;) {
    const auto step = parser.next(in);
    using What = http::Parser::Step::What;
    if (step.what == What::head) check_route(parser.request().method, parser.request().raw_path, websocket);
    in.remove_prefix(step.used);
    if (step.what != What::head && step.what != What::body) return;
  }
}

std::string frames(ByteView in, std::size_t piece) {
  V1FrameReader reader;
  std::string story;
  while (!in.empty()) {
    const ByteView part = in.first(std::min(piece, in.size()));
    in = in.subspan(part.size());
    const auto fed = reader.feed(part, [&story](V1Kind kind, std::string&& payload) {
      if (payload.size() > kV1MaxFrame) wrong();
      const auto header = v1_header(kind, payload.size());
      story += as_text(header);
      story += payload;
    });
    if (fed) continue;
    fed.error().ignore("expected");
    return story + "!";
  }
  return story;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const ByteView bytes = std::as_bytes(std::span(data + 2, size - 2));
  if (data[0] & 4) {
    if (frames(bytes, bytes.size() + 1) != frames(bytes, data[1] % 16u + 1)) wrong();
  } else if (data[0] & 2) {
    for (const std::byte byte : bytes)   // no parser of requests lets these through
      if (byte <= std::byte{0x20} || byte >= std::byte{0x7f}) return 0;
    check_route("GET", as_text(bytes), data[0] & 1);
  } else {
    check_request(as_text(bytes), data[0] & 1);
  }
  return 0;
}
