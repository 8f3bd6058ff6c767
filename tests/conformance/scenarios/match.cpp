#include "conformance/scenarios/story.hpp"

namespace sandbox::scenarios {

namespace {

const std::string kGenerators[] = {"$", "join", "base64", "repeat", "numbered"};

bool is_generator(const Object& object) {
  for (const auto& key : kGenerators) {
    if (object.contains(key)) return true;
  }
  return false;
}

Value look_up(const std::string& reference, const Scope& scope) {
  const auto dot = reference.find('.');
  const Saved& saved = scope.find(reference.substr(0, dot));
  const auto field = saved.fields.find(dot == std::string::npos ? "" : reference.substr(dot + 1));
  if (field == saved.fields.end()) throw Surprise("nothing is known as " + reference);
  return field->second;
}

std::string joined(const List& parts) {
  std::string out;
  for (const Value& part : parts) {
    if (part.text())
      out += *part.text();
    else if (part.number())
      out += std::to_string(*part.number());
    else
      throw Surprise("join takes strings and whole numbers, not " + part.shown());
  }
  return out;
}

Value generated(const Object& object, const Scope& scope) {
  const auto& [key, value] = *object.begin();
  if (object.size() == 2 && object.contains("repeat") && object.contains("times")) {
    const std::string unit = std::get<std::string>(object.at("repeat"));
    std::string out;
    for (auto left = std::get<std::int64_t>(object.at("times")); left > 0; --left) out += unit;
    return out;
  }
  if (object.size() != 1) throw Surprise("unknown keys in " + Value(object).shown());
  if (key == "$") return look_up(std::get<std::string>(value), scope);
  if (key == "join") return joined(std::get<List>(resolve(value, scope)));
  if (key == "base64") return decode_base64(std::get<std::string>(value));
  if (key == "numbered") return numbered_lines(std::get<std::int64_t>(value));
  throw Surprise("unknown value " + Value(object).shown());
}

bool matches(const Value& actual, const Value& matcher, const Scope& scope);

bool matches_fields(const Value& actual, const Object& wanted, const Scope& scope) {
  if (!actual.object()) return false;
  for (const auto& [name, matcher] : wanted) {
    const auto field = actual.object()->find(name);
    if (field == actual.object()->end()) throw Surprise("there is no field " + name);
    if (!matches(field->second, matcher, scope)) return false;
  }
  return true;
}

bool holds(const std::string& condition, const Value& actual, const Value& wanted, const Scope& scope) {
  if (condition == "not") return !matches(actual, wanted, scope);
  if (condition == "fields") return matches_fields(actual, std::get<Object>(wanted), scope);
  if (condition == "has" || condition == "one_of") {
    const List* items = condition == "has" ? actual.list() : wanted.list();
    if (!items) return false;
    for (const Value& item : *items) {
      if (condition == "has" ? matches(item, wanted, scope) : matches(actual, item, scope)) return true;
    }
    return false;
  }
  if (condition == "size") {
    if (actual.text()) return matches(Value(static_cast<std::int64_t>(actual.text()->size())), wanted, scope);
    if (actual.list()) return matches(Value(static_cast<std::int64_t>(actual.list()->size())), wanted, scope);
    return false;
  }
  const Value value = resolve(wanted, scope);
  if (condition == "equals") return actual == value;
  if (condition == "at_least") return actual.number() && value.number() && *actual.number() >= *value.number();
  if (condition == "at_most") return actual.number() && value.number() && *actual.number() <= *value.number();
  if (!value.text()) throw Surprise("unknown condition " + condition + ": " + value.shown());
  if (condition == "contains") return actual.text() && actual.text()->find(*value.text()) != std::string::npos;
  if (condition == "starts_with") return actual.text() && actual.text()->starts_with(*value.text());
  if (condition == "ends_with") return actual.text() && actual.text()->ends_with(*value.text());
  throw Surprise("unknown condition " + condition);
}

bool matches(const Value& actual, const Value& matcher, const Scope& scope) {
  if (const List* wanted = matcher.list()) {
    if (!actual.list() || actual.list()->size() != wanted->size()) return false;
    for (std::size_t i = 0; i < wanted->size(); ++i) {
      if (!matches((*actual.list())[i], (*wanted)[i], scope)) return false;
    }
    return true;
  }
  if (!matcher.object()) return actual == matcher;
  if (is_generator(*matcher.object())) return actual == resolve(matcher, scope);
  if (matcher.object()->empty()) throw Surprise("a matcher without conditions");
  bool all = true;
  for (const auto& [condition, wanted] : *matcher.object()) all &= holds(condition, actual, wanted, scope);
  return all;
}

}  // namespace

Value resolve(const Value& value, const Scope& scope) {
  if (const List* list = value.list()) {
    List out;
    for (const Value& item : *list) out.push_back(resolve(item, scope));
    return out;
  }
  if (const Object* object = value.object()) {
    if (is_generator(*object)) return generated(*object, scope);
    Object out;
    for (const auto& [key, item] : *object) out.emplace(key, resolve(item, scope));
    return out;
  }
  return value;
}

void expect_match(const std::string& what, const Value& actual, const Value& matcher, const Scope& scope) {
  if (!matches(actual, matcher, scope)) throw Surprise(what + " is " + actual.shown() + ", wanted " + matcher.shown());
}

}  // namespace sandbox::scenarios
