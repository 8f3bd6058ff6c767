#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "agent/v1/json.hpp"
#include "protocol/messages.hpp"

namespace sandbox::agent::v1 {

/// Reads the params of a request: absent and null members have their default, unknown ones are ignored, wrong types are
/// remembered. Look at error() when everything was read.
class Params {
 public:
  explicit Params(const json::Value& params) : params_(params) {}

  bool has(std::string_view key) const noexcept { return params_.find(key) != nullptr; }
  std::string text(std::string_view key);
  bool boolean(std::string_view key);
  /// A whole number; one written with a fraction of zero counts as whole.
  std::int64_t integer(std::string_view key, std::int64_t otherwise = 0);
  double number(std::string_view key, double otherwise);
  /// Members of an object of strings, in order; of duplicates all.
  std::vector<protocol::KeyValue> strings(std::string_view key);

  /// "invalid params: …", or empty.
  const std::string& error() const noexcept { return error_; }

 private:
  const json::Value* find(std::string_view key, json::Kind kind, const char* wanted);
  void wrong(std::string_view key, const char* wanted);
  const json::Value& params_;
  std::string error_;
};

}  // namespace sandbox::agent::v1
