#pragma once

#include "rest/json_reader.hpp"
#include "rest/rest.hpp"

/// Forms that stand inside others. Only for the .cpp files of this folder.
namespace sandbox::rest {

void put(JsonWriter& json, const SandboxSpec& spec);
void put(JsonWriter& json, const Limits& limits);
void put(JsonWriter& json, const Image& image);
void put(JsonWriter& json, const Labels& labels);
void put(JsonWriter& json, const PoolInfo& pool);
Result<SandboxSpec> spec_of(const Value& value);
Result<Limits> limits_of(const Value& value);
Result<Image> image_of(const Value& value);
Result<PoolInfo> pool_of(const Value& value);

template <class T, class Put>
std::string write_list(const std::vector<T>& list, Put&& put_one) {
  JsonWriter json;
  json.begin_array();
  for (const T& one : list) put_one(json, one);
  json.end_array();
  return std::move(json).take();
}

}  // namespace sandbox::rest
