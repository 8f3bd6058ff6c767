#include "conformance/scenarios/story.hpp"

#include <chrono>
#include <exception>
#include <mutex>
#include <thread>

namespace sandbox::scenarios {

Saved& Scope::find(const std::string& name) const {
  for (const Scope* scope = this; scope; scope = scope->around_) {
    if (const auto found = scope->names_.find(name); found != scope->names_.end()) return *found->second;
  }
  throw Surprise("nothing was saved as " + name);
}

void Scope::keep(const std::string& name, Saved saved) { names_[name] = std::make_unique<Saved>(std::move(saved)); }

void Scope::drop(const std::string& name) {
  if (names_.erase(name) == 0) throw Surprise("nothing was saved here as " + name);
}

const Value* Arguments::take(const std::string& name) {
  taken_[name] = true;
  const auto found = values_.find(name);
  return found == values_.end() ? nullptr : &found->second;
}

std::string Arguments::text(const std::string& name) {
  const Value* value = take(name);
  if (!value || !value->text()) throw Surprise("argument " + name + " is missing or no text");
  return *value->text();
}
std::string Arguments::text(const std::string& name, std::string otherwise) {
  return take(name) ? text(name) : otherwise;
}

std::int64_t Arguments::number(const std::string& name, std::int64_t otherwise) {
  const Value* value = take(name);
  if (!value) return otherwise;
  if (!value->number()) throw Surprise("argument " + name + " is no whole number");
  return *value->number();
}

double Arguments::real(const std::string& name) {
  const Value* value = take(name);
  if (value && value->number()) return static_cast<double>(*value->number());
  if (!value || !std::holds_alternative<double>(*value))
    throw Surprise("argument " + name + " is missing or no number");
  return std::get<double>(*value);
}

bool Arguments::flag(const std::string& name, bool otherwise) {
  const Value* value = take(name);
  if (!value) return otherwise;
  if (!std::holds_alternative<bool>(*value)) throw Surprise("argument " + name + " is neither true nor false");
  return std::get<bool>(*value);
}

std::uint32_t Arguments::mode(const std::string& name) {
  return static_cast<std::uint32_t>(std::stoul(text(name, "0"), nullptr, 8));
}

std::vector<std::string> Arguments::texts(const std::string& name) {
  const Value* value = take(name);
  if (!value || !value->list()) throw Surprise("argument " + name + " is missing or no list");
  std::vector<std::string> out;
  for (const Value& item : *value->list()) {
    if (!item.text()) throw Surprise("argument " + name + " is no list of texts");
    out.push_back(*item.text());
  }
  return out;
}

std::vector<std::pair<std::string, std::string>> Arguments::pairs(const std::string& name) {
  const Value* value = take(name);
  if (!value) return {};
  std::vector<std::pair<std::string, std::string>> out;
  if (!value->object()) throw Surprise("argument " + name + " is no object");
  for (const auto& [key, item] : *value->object()) out.emplace_back(key, std::get<std::string>(item));
  return out;
}

void Arguments::finish() const {
  for (const auto& [name, value] : values_) {
    if (!taken_.contains(name)) throw Surprise("unknown argument " + name);
  }
}

namespace {

struct Step {
  std::string operation;
  Object args;
  std::string on = "box";
  std::string save;
  Object expect;
  const Value* error = nullptr;
  std::int64_t within_ms = 0;
};

Step parse_step(const Value& value) {
  if (!value.object()) throw Surprise("a step must be an object");
  Step step;
  for (const auto& [key, item] : *value.object()) {
    if (key == "do")
      step.operation = std::get<std::string>(item);
    else if (key == "args")
      step.args = std::get<Object>(item);
    else if (key == "on")
      step.on = std::get<std::string>(item);
    else if (key == "save")
      step.save = std::get<std::string>(item);
    else if (key == "expect")
      step.expect = std::get<Object>(item);
    else if (key == "error")
      step.error = &item;
    else if (key == "within_ms")
      step.within_ms = std::get<std::int64_t>(item);
    else
      throw Surprise("unknown key " + key + " in a step");
  }
  return step;
}

const char* retry_name(Retry retry) {
  return retry == Retry::never ? "never" : retry == Retry::now ? "now" : "after_backoff";
}

void expect_error(const Error& error, const Value& wanted, const Scope& scope) {
  const std::string code(name(error.code()));
  if (wanted.text()) {
    if (code != *wanted.text()) throw Surprise("error is " + error.to_string() + ", wanted " + *wanted.text());
    return;
  }
  const Object actual = {{"code", code},
                         {"message", error.message()},
                         {"operation", error.operation()},
                         {"errno", error.sys_errno()},
                         {"retry", retry_name(error.retry())}};
  for (const auto& [field, matcher] : std::get<Object>(wanted)) {
    const auto found = actual.find(field);
    if (found == actual.end()) throw Surprise("an error has no field " + field);
    expect_match(field + " of the error " + error.to_string(), found->second, matcher, scope);
  }
}

void run_branches(const Object& args, const Scope& around, const Perform& perform) {
  std::int64_t times = 1;
  const List* branches = nullptr;
  for (const auto& [key, value] : args) {
    if (key == "times")
      times = std::get<std::int64_t>(value);
    else if (key == "branches")
      branches = value.list();
    else
      throw Surprise("unknown argument " + key);
  }
  if (!branches) throw Surprise("argument branches is missing");
  std::mutex mutex;
  std::exception_ptr first;
  std::vector<std::jthread> threads;
  for (const Value& branch : *branches) {
    for (std::int64_t index = 0; index < times; ++index) {
      threads.emplace_back([&, index] {
        try {
          Scope scope(&around);
          scope.keep("index", Saved{{{"", index}}, {}});
          run_steps(std::get<List>(branch), scope, perform);
        } catch (...) {
          const std::lock_guard lock(mutex);
          if (!first) first = std::current_exception();
        }
      });
    }
  }
  threads.clear();
  if (first) std::rethrow_exception(first);
}

void attempt(const Step& step, Scope& scope, const Perform& perform) {
  if (step.operation == "parallel") return run_branches(step.args, scope, perform);
  Arguments args(std::get<Object>(resolve(Value(step.args), scope)));
  std::any made;
  const Result<Object> result = perform(step.operation, args, step.on, scope, made);
  args.finish();
  if (step.error) {
    if (result) throw Surprise("it succeeded, wanted the error " + step.error->shown());
    return expect_error(result.error(), *step.error, scope);
  }
  if (!result) throw Surprise(result.error().to_string());
  for (const auto& [field, matcher] : step.expect) {
    const auto found = result->find(field);
    if (found == result->end()) throw Surprise("the result has no field " + field);
    expect_match(field, found->second, matcher, scope);
  }
  if (!step.save.empty()) scope.keep(step.save, Saved{*result, std::move(made)});
}

void run_step(const Step& step, Scope& scope, const Perform& perform) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(step.within_ms);
  for (;;) {
    try {
      return attempt(step, scope, perform);
    } catch (const Surprise&) {
      if (std::chrono::steady_clock::now() >= deadline) throw;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

}  // namespace

void run_steps(const List& steps, Scope& scope, const Perform& perform) {
  int number = 0;
  for (const Value& value : steps) {
    ++number;
    std::string operation = "?";
    try {
      const Step step = parse_step(value);
      operation = step.operation;
      run_step(step, scope, perform);
    } catch (const std::exception& error) {
      throw Surprise("step " + std::to_string(number) + " " + operation + ": " + error.what());
    }
  }
}

}  // namespace sandbox::scenarios
