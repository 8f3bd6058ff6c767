// net.fetch: a URL, a redirect and the response of a hostile server. Byte 0: bit 0 the answer to HEAD, bits 1–2 the input is a
// response, a URL, or two of them. Byte 1: size of the pieces.
#include <cstdlib>
#include <span>
#include <string>

#include "agent/v1/http_text.hpp"

namespace {

using namespace sandbox;
using namespace sandbox::agent::v1;

[[noreturn]] void wrong() { std::abort(); }

std::string response(std::string_view in, bool head, std::size_t piece) {
  ResponseReader reader(head);
  std::string story;
  bool done = false;
  for (std::size_t at = 0; at < in.size() && !done; at += piece) {
    const auto fed = reader.feed(in.substr(at, piece));
    if (!fed) {
      fed.error().ignore("expected");
      return "!";
    }
    done = *fed;
  }
  if (!done) {
    if (const auto ended = reader.finish(); !ended) {
      ended.error().ignore("expected");
      return "?";
    }
  }
  if (reader.status() < 100 || reader.status() > 999 || reader.body().size() > ResponseReader::kMaxBody) wrong();
  if (head && !reader.body().empty()) wrong();
  for (const auto& [name, value] : reader.headers()) {
    if (!is_token(name) || canonical_header(name) != name) wrong();
    if (value.find_first_of(std::string_view("\r\n\0", 3)) != std::string::npos) wrong();
  }
  return std::to_string(reader.status()) + reader.body();
}

void check_url(const Url& url) {
  if (url.host.empty() || url.port == 0 || url.target.empty() || url.target.front() != '/') wrong();
  // What goes into a request line and a Host header.
  if ((url.target + url.authority()).find_first_of(std::string_view(" \r\n\0", 4)) != std::string::npos) wrong();
  const auto again = parse_url(url.text());
  if (!again || again->host != url.host || again->port != url.port || again->target != url.target || again->secure != url.secure) wrong();
  const auto request = format_request("GET", url, {{"accept", "*/*"}}, "");
  if (!request || request->find("\r\n\r\n") != request->size() - 4) wrong();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::string_view in = as_text(std::as_bytes(std::span(data + 2, size - 2)));
  if ((data[0] >> 1) % 3 == 0) {
    if (response(in, data[0] & 1, in.size() + 1) != response(in, data[0] & 1, data[1] % 16u + 1)) wrong();
    return 0;
  }
  const auto space = (data[0] >> 1) % 3 == 2 ? in.find(' ') : in.npos;
  const auto url = parse_url(in.substr(0, space));
  if (!url) {
    url.error().ignore("expected");
    return 0;
  }
  check_url(*url);
  if (space == in.npos) return 0;
  const auto next = follow_url(*url, in.substr(space + 1));
  if (next) check_url(*next);
  else next.error().ignore("expected");
  return 0;
}
