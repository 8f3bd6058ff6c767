// HTTP messages from a hostile peer: several requests, or responses, one behind the other. Byte 0: bit 0 responses, bit 1
// every second response answers HEAD, bit 2 the connection ends after the input. Byte 1: fragment size. What the parser
// says must not depend on how the bytes were cut, and what it accepts must have one meaning only.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "http/parser.hpp"

namespace {

using namespace sandbox::http;

constexpr std::size_t kMaxHead = 600;

[[noreturn]] void wrong() { std::abort(); }

void check_head(Parser& parser, bool response) {
  const Headers& headers = parser.headers();
  const auto codings = headers.count("Transfer-Encoding");
  if (headers.count("Content-Length") > 1 || codings > 1) wrong();
  if (codings == 1 && (headers.count("Content-Length") != 0 || !same_token(headers.get("Transfer-Encoding"), "chunked"))) wrong();
  if (parser.content_length() && !headers.find("Content-Length")) wrong();
  for (const auto& [name, value] : headers) {
    if (!valid_field(name, {})) wrong();
    if (value.find_first_of(std::string_view("\r\n\0", 3)) != std::string::npos) wrong();
  }
  if (response) return;
  const RequestHead& head = parser.request();
  if (head.method.empty() || head.raw_path.empty()) wrong();
  if (head.raw_path != "*" && head.path.front() != '/') wrong();
  if (head.path.find('\0') != std::string::npos) wrong();
  head.query_values("label");
}

/// Everything the parser made of `input`, as text.
std::string parse(std::string_view input, bool response, bool head_answers, bool ends, std::size_t fragment) {
  std::string said, pending;
  std::size_t given = 0;
  for (int messages = 0; messages < 50; ++messages) {
    Parser parser(response ? Parser::Kind::response : Parser::Kind::request, kMaxHead);
    if (response && head_answers && messages % 2 == 1) parser.expect_no_body();
    for (;;) {
      const auto step = parser.next(pending);
      if (step.used > pending.size()) wrong();
      using What = Parser::Step::What;
      if (step.what == What::body) {
        if (step.body.data() < pending.data() || step.body.data() + step.body.size() > pending.data() + step.used) wrong();
        said += step.body;
      }
      if (step.what == What::head) {
        check_head(parser, response);
        said += "<head>";
      }
      pending.erase(0, step.used);
      if (step.what == What::error) return said + "<error>";
      if (step.what == What::end) break;
      if (step.what != What::need_more) continue;
      if (pending.size() > kMaxHead + fragment) wrong();  // the buffer of a server is bounded
      if (given == input.size()) return said + (ends && parser.end_of_input().what == What::end ? "<end>" : "<open>");
      const std::size_t size = std::min(fragment, input.size() - given);
      pending += input.substr(given, size);
      given += size;
    }
    said += "<end>";
    if (parser.until_close()) wrong();
  }
  return said;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2 || size > 4096) return 0;
  const std::uint8_t mode = data[0];
  const std::string_view input(reinterpret_cast<const char*>(data + 2), size - 2);
  const std::string whole = parse(input, mode & 1, mode & 2, mode & 4, input.size() + 1);
  const std::string cut = parse(input, mode & 1, mode & 2, mode & 4, data[1] % 32u + 1);
  // A limit on the head may be noticed a fragment earlier or later in a body; the accepted text is the same up to there.
  if (whole != cut && whole.find("<error>") == std::string::npos) wrong();
  sandbox::http::percent_decode(input, mode & 8);
  return 0;
}
