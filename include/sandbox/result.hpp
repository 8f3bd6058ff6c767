#pragma once

#include <cstdlib>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

#include <sandbox/error.hpp>

namespace sandbox {

/// What `Result::value()` throws; carries the whole Error.
class Exception : public std::exception {
 public:
  explicit Exception(Error error) : error_(std::move(error)), text_(error_.to_string()) {}
  const char* what() const noexcept override { return text_.c_str(); }
  const Error& error() const noexcept { return error_; }

 private:
  Error error_;
  std::string text_;
};

namespace detail {
[[noreturn]] inline void throw_error(const Error& error) {
#if defined(__cpp_exceptions)
  throw Exception(error);
#else
  (void)error;
  std::abort();
#endif
}
}  // namespace detail

/// A T or an Error, with the member names of std::expected. `Result<void>` carries only success or failure.
template <class T>
class [[nodiscard]] Result {
 public:
  using value_type = T;

  template <class U = T>
    requires(std::is_constructible_v<T, U &&> && !std::is_same_v<std::remove_cvref_t<U>, Result> &&
             !std::is_same_v<std::remove_cvref_t<U>, Error>)
  Result(U&& value) : state_(std::in_place_index<0>, std::forward<U>(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool has_value() const noexcept { return state_.index() == 0; }
  explicit operator bool() const noexcept { return has_value(); }

  /// The value; throws sandbox::Exception when there is none. From a temporary it comes by value, so that
  /// `for (auto& entry : box.fs().list("/root").value())` does not outlive what it walks over.
  T& value() & { return has_value() ? **this : (detail::throw_error(error()), **this); }
  const T& value() const& { return has_value() ? **this : (detail::throw_error(error()), **this); }
  T value() && {
    if (!has_value()) detail::throw_error(error());
    return *std::move(*this);
  }

  /// Unchecked: there must be a value.
  T& operator*() & { return *std::get_if<0>(&state_); }
  const T& operator*() const& { return *std::get_if<0>(&state_); }
  T&& operator*() && { return std::move(*std::get_if<0>(&state_)); }
  T* operator->() { return std::get_if<0>(&state_); }
  const T* operator->() const { return std::get_if<0>(&state_); }

  /// Unchecked: there must be an error.
  Error& error() & { return *std::get_if<1>(&state_); }
  const Error& error() const& { return *std::get_if<1>(&state_); }
  Error&& error() && { return std::move(*std::get_if<1>(&state_)); }

  template <class U>
  T value_or(U&& other) && {
    return has_value() ? *std::move(*this) : (error().ignore("value_or"), static_cast<T>(std::forward<U>(other)));
  }
  void ignore(std::string_view why) const noexcept {
    if (!has_value()) error().ignore(why);
  }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  using value_type = void;

  Result() = default;
  Result(Error error) : error_(std::move(error)) {}

  bool has_value() const noexcept { return !error_.has_value(); }
  explicit operator bool() const noexcept { return has_value(); }
  void value() const {
    if (error_) detail::throw_error(*error_);
  }
  Error& error() & { return *error_; }
  const Error& error() const& { return *error_; }
  Error&& error() && { return std::move(*error_); }
  void ignore(std::string_view why) const noexcept {
    if (error_) error_->ignore(why);
  }

 private:
  std::optional<Error> error_;
};

}  // namespace sandbox

#define SANDBOX_DETAIL_CONCAT2(a, b) a##b
#define SANDBOX_DETAIL_CONCAT(a, b) SANDBOX_DETAIL_CONCAT2(a, b)
#define SANDBOX_DETAIL_TRY(name, declaration, leave, ...)     \
  auto name = (__VA_ARGS__);                                  \
  if (!name) leave std::move(name).error();                   \
  declaration = *std::move(name)

/// `SANDBOX_TRY(auto fd, open_x(path));` declares fd from a Result, or returns its Error from this function.
#define SANDBOX_TRY(declaration, ...) \
  SANDBOX_DETAIL_TRY(SANDBOX_DETAIL_CONCAT(sandbox_try_, __COUNTER__), declaration, return, __VA_ARGS__)
/// The same inside a coroutine.
#define SANDBOX_CO_TRY(declaration, ...) \
  SANDBOX_DETAIL_TRY(SANDBOX_DETAIL_CONCAT(sandbox_try_, __COUNTER__), declaration, co_return, __VA_ARGS__)
/// `SANDBOX_CHECK(do_x());` for Result<void>: returns its Error from this function.
#define SANDBOX_CHECK(...)                                              \
  do {                                                                  \
    if (auto sandbox_check_ = (__VA_ARGS__); !sandbox_check_)           \
      return std::move(sandbox_check_).error();                         \
  } while (false)
