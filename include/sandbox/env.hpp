#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <sandbox/fwd.hpp>
#include <sandbox/result.hpp>

namespace sandbox {

/// The environment later commands start with. Names: not empty, no '=' or NUL. A light view: copy freely.
class Env {
 public:
  Result<std::optional<std::string>> get(std::string name);
  Result<void> set(std::string name, std::string value);
  Result<void> unset(std::string name);
  /// Sorted by name.
  Result<std::vector<std::pair<std::string, std::string>>> list();

  template <class Token> auto async_get(std::string name, Token&& token);
  template <class Token> auto async_set(std::string name, std::string value, Token&& token);
  template <class Token> auto async_unset(std::string name, Token&& token);
  template <class Token> auto async_list(Token&& token);

  explicit Env(std::shared_ptr<driver::Box> box) noexcept : box_(std::move(box)) {}

 private:
  std::shared_ptr<driver::Box> box_;
};

}  // namespace sandbox
