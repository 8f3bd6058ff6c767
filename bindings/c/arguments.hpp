#pragma once

#include <algorithm>
#include <chrono>
#include <cstring>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include <sandbox/bytes.hpp>
#include <sandbox/client.hpp>
#include <sandbox/command.hpp>
#include <sandbox/fs.hpp>
#include <sandbox/runtime.hpp>
#include <sandbox/spec.hpp>

#include "guard.hpp"

/// From C to C++: everything is checked and copied. Errors of all: invalid_argument, which names the argument.
namespace sandbox::c {

/// Any bytes; valid for the call.
Result<ByteView> bytes_of(sbx_view view, std::string_view argument);
/// Text without a NUL.
Result<std::string> text_of(sbx_view view, std::string_view argument);

inline constexpr std::size_t kMaxItems = 65536;  ///< of any array: environments, labels, arguments
Result<std::vector<std::pair<std::string, std::string>>> pairs_of(const sbx_pair* pairs, std::size_t size, std::string_view argument);

/// Milliseconds, at most ten years, so that adding them to a clock cannot overflow.
inline std::chrono::milliseconds clamped_time(std::int64_t ms) noexcept {
  constexpr std::int64_t kMost = std::int64_t{10} * 366 * 24 * 3600 * 1000;
  return std::chrono::milliseconds(std::clamp<std::int64_t>(ms, 0, kMost));
}
/// A timeout: not negative; `otherwise` for 0.
Result<std::chrono::milliseconds> time_of(std::int64_t ms, std::chrono::milliseconds otherwise, std::string_view argument = "timeout_ms");

/// An enumerator as it came, also one that C should not have been able to make.
template <class Enum>
unsigned number_of(const Enum& value) noexcept {
  static_assert(sizeof value == sizeof(unsigned));
  unsigned number;
  std::memcpy(&number, &value, sizeof number);
  return number;
}

inline constexpr std::size_t kMaxStruct = 4096;  ///< bytes; a size beyond this was never set

/// A copy of a struct that begins with struct_size. Callers built against a later header may send a longer one, as long as
/// what we do not know is zero. `defaults` for null.
/// `earlier`: its sizes in headers before it grew; then what it lacks is as in `defaults`.
template <class Struct>
Result<Struct> struct_of(const Struct* given, const Struct& defaults, std::string_view argument,
                         std::initializer_list<std::size_t> earlier = {}) {
  if (!given) return defaults;
  std::size_t size;
  std::memcpy(&size, given, sizeof size);
  if (std::find(earlier.begin(), earlier.end(), size) != earlier.end()) {
    Struct grown = defaults;
    std::memcpy(&grown, given, size);
    grown.struct_size = sizeof grown;
    return grown;
  }
  if (size < sizeof(Struct) || size > kMaxStruct) return bad_argument(argument, "has a wrong struct_size; use its _INIT macro");
  const auto* const bytes = reinterpret_cast<const unsigned char*>(given);
  if (std::any_of(bytes + sizeof(Struct), bytes + size, [](unsigned char byte) { return byte != 0; }))
    return bad_argument(argument, "uses fields that this version of the library does not know");
  return *given;
}

/// Fills a struct of the caller's as far as its struct_size goes.
template <class Struct>
Result<void> check_out(const Struct* out, std::string_view argument) {
  if (!out) return null_argument(argument);
  if (out->struct_size < sizeof(Struct) || out->struct_size > kMaxStruct)
    return bad_argument(argument, "has a wrong struct_size; use its _INIT macro");
  return {};
}
template <class Struct>
void fill(Struct* out, Struct value) {
  value.struct_size = out->struct_size;
  *out = value;
}

/// Null: the default one.
Result<SandboxSpec> spec_of(const sbx_spec* spec);
Result<RuntimeOptions> runtime_options_of(const sbx_runtime_options* options);
Result<PruneOptions> prune_options_of(const sbx_prune_options* options);
Result<CreateOptions> create_options_of(const sbx_create_options* options);
Result<ClientOptions> client_options_of(const sbx_client_options* options);
Result<CreateRequest> create_request_of(const sbx_create_request* request);
Result<OpenOptions> open_options_of(const sbx_open_options* options);
Result<Labels> labels_of(const sbx_pair* labels, std::size_t size);
Result<Command> command_of(const sbx_command* command);
Result<WriteOptions> write_options_of(const sbx_write_options* options);
Result<FindOptions> find_options_of(const sbx_find_options* options);

}  // namespace sandbox::c
