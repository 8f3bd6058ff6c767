#pragma once

#include <optional>

#include <sandbox/result.hpp>

namespace sandbox::testing {

/// What a call failed with; nothing when it did not fail. Whoever compares it has looked at the error.
template <class T>
std::optional<ErrorCode> failure(const Result<T>& result) {
  if (result) return std::nullopt;
  return result.error().code();
}

}  // namespace sandbox::testing
