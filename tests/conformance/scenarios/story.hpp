#pragma once

#include <any>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <sandbox/error.hpp>
#include <sandbox/result.hpp>

#include "conformance/scenarios/value.hpp"

/// How a story is told: names, references, matchers, steps. Knows nothing of sandboxes.
namespace sandbox::scenarios {

/// What a step kept: the fields of its result, and the object it made.
struct Saved {
  Object fields;
  std::any handle;
};

/// Names of one story, or of one branch of `parallel` in front of those around it. One thread at a time adds to a
/// scope; those inside only read it meanwhile.
class Scope {
 public:
  explicit Scope(const Scope* around = nullptr) : around_(around) {}
  Saved& find(const std::string& name) const;  ///< throws Surprise
  void keep(const std::string& name, Saved saved);
  /// Drops the handle in place, as the language ends such an object.
  void drop(const std::string& name);

 private:
  const Scope* around_;
  std::map<std::string, std::unique_ptr<Saved>> names_;
};

/// The value meant by `value`: references looked up, joins joined, contents made.
Value resolve(const Value& value, const Scope& scope);
/// Throws Surprise that says what `what` is and what was wanted.
void expect_match(const std::string& what, const Value& actual, const Value& matcher, const Scope& scope);

/// Arguments of one step. Every getter marks its argument as known; finish() refuses the others.
class Arguments {
 public:
  explicit Arguments(Object values) : values_(std::move(values)) {}
  bool has(const std::string& name) const { return values_.contains(name); }
  std::string text(const std::string& name);  ///< throws Surprise when missing
  std::string text(const std::string& name, std::string otherwise);
  std::int64_t number(const std::string& name, std::int64_t otherwise = 0);
  double real(const std::string& name);
  bool flag(const std::string& name, bool otherwise = false);
  std::uint32_t mode(const std::string& name);  ///< octal digits; 0 when missing
  std::vector<std::string> texts(const std::string& name);
  std::vector<std::pair<std::string, std::string>> pairs(const std::string& name);
  void finish() const;

 private:
  const Value* take(const std::string& name);
  Object values_;
  std::map<std::string, bool> taken_;
};

/// Does what one step says: `on` is the object named, `made` receives what it makes.
using Perform = std::function<Result<Object>(const std::string& operation, Arguments& args, const std::string& on,
                                             Scope& scope, std::any& made)>;

/// Runs the steps in order; throws Surprise at the first that goes another way.
void run_steps(const List& steps, Scope& scope, const Perform& perform);

}  // namespace sandbox::scenarios
