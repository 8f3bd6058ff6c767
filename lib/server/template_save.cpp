#include <simdjson.h>

#include "server/relay.hpp"

namespace sandbox::server {

std::optional<SaveCall> find_template_save(std::string_view message) {
  // The method's name cannot be hidden from this search but by escapes, which no client writes into it; the agent answers
  // such a one as any method it does not know.
  if (message.find("template.save") == std::string_view::npos) return std::nullopt;
  simdjson::dom::parser parser;
  simdjson::dom::object call;
  if (parser.parse(simdjson::padded_string(message)).get(call) != simdjson::SUCCESS) return std::nullopt;
  std::string_view method;
  if (call["method"].get(method) != simdjson::SUCCESS || method != "template.save") return std::nullopt;
  SaveCall found;
  simdjson::dom::element id;
  // Without an id it is a notification: there is nobody to answer, and the agent ignores it.
  if (call["id"].get(id) != simdjson::SUCCESS || id.is_null() || id.is_array() || id.is_object()) return std::nullopt;
  found.id = simdjson::minify(id);
  std::string_view label;
  if (call["params"]["label"].get(label) == simdjson::SUCCESS) found.label = label;
  return found;
}

}  // namespace sandbox::server
