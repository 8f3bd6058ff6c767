// The JSON reader of the v1 dialect: whatever it accepts can be written and reads as the same value; strings it makes are
// UTF-8, and every string it writes can be read.
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>

#include "agent/v1/json.hpp"
#include "agent/v1/text.hpp"

namespace {

using namespace sandbox;
using namespace sandbox::agent::v1;

void check_utf8(std::string_view text) {
  while (!text.empty()) {
    const std::size_t size = utf8_size(text);
    if (size == 0) std::abort();
    text.remove_prefix(size);
  }
}

void write(std::string& out, const json::Value& value, int depth) {
  if (depth > json::kMaxDepth + 1) std::abort();
  switch (value.kind) {
    case json::Kind::null: out += "null"; return;
    case json::Kind::boolean: out += value.boolean ? "true" : "false"; return;
    case json::Kind::integer: out += std::to_string(value.integer); return;
    case json::Kind::real: out += value.text; return;
    case json::Kind::string:
      check_utf8(value.text);
      json::append_string(out, value.text);
      return;
    case json::Kind::array:
    case json::Kind::object: break;
  }
  const bool object = value.kind == json::Kind::object;
  if (value.keys.size() != (object ? value.items.size() : 0)) std::abort();
  out += object ? '{' : '[';
  for (std::size_t i = 0; i < value.items.size(); ++i) {
    if (i > 0) out += ',';
    if (object) {
      check_utf8(value.keys[i]);
      json::append_string(out, value.keys[i]);
      out += ':';
    }
    write(out, value.items[i], depth + 1);
  }
  out += object ? '}' : ']';
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = as_text(std::as_bytes(std::span(data, size)));
  if (auto value = json::parse(text)) {
    std::string first, second;
    write(first, *value, 0);
    auto again = json::parse(first);
    if (!again) std::abort();
    write(second, *again, 0);
    if (first != second) std::abort();
  } else {
    value.error().ignore("expected");
  }
  std::string string;
  json::append_string(string, text);
  if (string.size() != json::string_size(text)) std::abort();
  auto read = json::parse(string);
  if (!read || read->kind != json::Kind::string) std::abort();
  const auto part = json::fitting(text, size);
  if (!part.empty() && json::string_size(part) > size) std::abort();
  if (const auto bytes = from_base64(text); bytes && base64(as_bytes(*bytes)) != text) std::abort();
  return 0;
}
