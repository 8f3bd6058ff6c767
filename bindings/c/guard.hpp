#pragma once

#include <exception>
#include <memory>
#include <new>
#include <string>
#include <utility>

#include <sandbox/c.h>
#include <sandbox/result.hpp>

struct sbx_error {
  explicit sbx_error(sandbox::Error failure);
  ~sbx_error() { error.ignore("the caller freed it"); }
  const sandbox::Error error;
  const std::string message;  ///< control bytes escaped
  const std::string text;
};

/// Where C++ ends: no exception leaves the library, every failure becomes a code and, for callers who want it, an error.
namespace sandbox::c {

Error bad_argument(std::string_view argument, std::string_view why);
inline Error null_argument(std::string_view argument) { return bad_argument(argument, "is null"); }

/// The code of `error`; the error itself goes to `err`. When memory is out *err stays null.
sbx_code fail(sbx_error** err, Error error) noexcept;

/// What a caught exception means. To be called in a catch block.
Error error_of_exception();

/// To be called before anything is made that needs our threads. A child that fork() makes after that has none of them, holds
/// copies of our locks as they were, and shares the sockets of its parent's sandboxes: it must not touch any of it.
void before_first_use();
/// Whether this process is such a child.
bool stranded() noexcept;
/// Errors: failed_precondition (stranded).
Result<void> check_process();

/// Runs `body() -> Result<void>`, except in a stranded process.
template <class Body>
sbx_code guard(sbx_error** err, Body&& body) noexcept {
  if (err) *err = nullptr;
  try {
    Result<void> done = check_process();
    if (done) done = std::forward<Body>(body)();
    if (done) return SBX_OK;
    return fail(err, std::move(done).error());
  } catch (const std::bad_alloc&) {
    return SBX_RESOURCE_EXHAUSTED;
  } catch (...) {
    try {
      return fail(err, error_of_exception());
    } catch (...) {
      return SBX_INTERNAL;
    }
  }
}

/// The same for functions that give one thing: `body() -> Result<T>`; `*out` is `none` unless it succeeds.
template <class T, class Body>
sbx_code guard(sbx_error** err, T* out, T none, Body&& body) noexcept {
  if (out) *out = none;
  return guard(err, [&]() -> Result<void> {
    if (!out) return null_argument("the out argument");
    SANDBOX_TRY(*out, std::forward<Body>(body)());
    return {};
  });
}

/// The same for functions that give a new handle: `body() -> Result<std::unique_ptr<Handle>>`.
template <class Handle, class Body>
sbx_code guard(sbx_error** err, Handle** out, Body&& body) noexcept {
  if (out) *out = nullptr;
  return guard(err, [&]() -> Result<void> {
    if (!out) return null_argument("the out argument");
    SANDBOX_TRY(std::unique_ptr<Handle> made, std::forward<Body>(body)());
    *out = made.release();
    return {};
  });
}

/// sbx_x_free of a value.
template <class Handle>
void free_value(Handle** handle) noexcept {
  if (!handle) return;
  delete std::exchange(*handle, nullptr);
}

/// sbx_x_free of what more than memory hangs on. A stranded process leaves its copy as it is: it is the parent's to end.
template <class Handle>
void free_handle(Handle** handle) noexcept {
  if (!handle) return;
  Handle* const given = std::exchange(*handle, nullptr);
  if (!stranded()) delete given;
}

inline sbx_view view_of(std::string_view text) noexcept { return {text.data() ? text.data() : "", text.size()}; }

}  // namespace sandbox::c
