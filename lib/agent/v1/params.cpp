#include "agent/v1/params.hpp"

#include <cmath>

namespace sandbox::agent::v1 {

void Params::wrong(std::string_view key, const char* wanted) {
  if (error_.empty()) error_ = "invalid params: " + std::string(key) + " must be " + wanted;
}

const json::Value* Params::find(std::string_view key, json::Kind kind, const char* wanted) {
  const json::Value* value = params_.find(key);
  if (!value || value->is(kind)) return value;
  wrong(key, wanted);
  return nullptr;
}

std::string Params::text(std::string_view key) {
  const auto* value = find(key, json::Kind::string, "a string");
  return value ? value->text : std::string();
}

bool Params::boolean(std::string_view key) {
  const auto* value = find(key, json::Kind::boolean, "true or false");
  return value && value->boolean;
}

double Params::number(std::string_view key, double otherwise) {
  const json::Value* value = params_.find(key);
  if (!value) return otherwise;
  if ((value->is(json::Kind::integer) || value->is(json::Kind::real)) && std::isfinite(value->real)) return value->real;
  wrong(key, "a number");
  return otherwise;
}

std::int64_t Params::integer(std::string_view key, std::int64_t otherwise) {
  const json::Value* value = params_.find(key);
  if (!value) return otherwise;
  if (value->is(json::Kind::integer)) return value->integer;
  constexpr double kExact = 9007199254740992.0;   // 2^53
  if (value->is(json::Kind::real) && std::fabs(value->real) <= kExact && value->real == std::trunc(value->real))
    return static_cast<std::int64_t>(value->real);
  wrong(key, "a whole number");
  return otherwise;
}

std::vector<protocol::KeyValue> Params::strings(std::string_view key) {
  std::vector<protocol::KeyValue> all;
  const auto* object = find(key, json::Kind::object, "an object of strings");
  for (std::size_t i = 0; object && i < object->keys.size(); ++i) {
    const json::Value& item = object->items[i];
    if (!item.is(json::Kind::string) && !item.is(json::Kind::null)) {
      wrong(key, "an object of strings");
      return {};
    }
    all.push_back({object->keys[i], item.text});
  }
  return all;
}

}  // namespace sandbox::agent::v1
