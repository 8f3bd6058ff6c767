#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sandbox {

/// What the caller should do about a failure. Append-only; the numbers are shared with C, the wire and every binding.
enum class ErrorCode : std::uint16_t {
  invalid_argument = 1,     ///< the call itself is wrong; fix it
  not_found = 2,            ///< no such file, program, sandbox, template
  already_exists = 3,
  permission_denied = 4,    ///< this caller may not
  unauthenticated = 5,
  resource_exhausted = 6,   ///< a limit, quota or the host is full
  failed_precondition = 7,  ///< right call, wrong state (closed, paused, no such kernel feature)
  unavailable = 8,          ///< the other side is gone or not up yet
  deadline_exceeded = 9,
  cancelled = 10,
  unsupported = 11,         ///< this backend, host or image cannot
  protocol = 12,            ///< the peer broke the wire rules
  corrupt = 13,             ///< stored data does not match its digest or format
  internal = 14,            ///< our bug; please report
};

/// Lower-case name of `code` as it appears in JSON and messages, e.g. "not_found".
std::string_view name(ErrorCode code) noexcept;

/// Where the failure was seen. Text from `guest` is untrusted: `Error::to_string` escapes it.
enum class Origin : std::uint8_t { local, host, guest };

/// Whether doing the same again can help.
enum class Retry : std::uint8_t { never, now, after_backoff };

/// One failure, from syscall to binding. Copyable, the size of one pointer, never empty except after a move.
/// Thread-safe to read. In sanitizer builds (SANDBOX_CHECK_ERRORS) an Error that nobody read or ignored ends the
/// program when it dies.
class [[nodiscard]] Error {
 public:
  Error(ErrorCode code, std::string message);
  Error(const Error&) noexcept;
  Error(Error&& other) noexcept : impl_(std::exchange(other.impl_, nullptr)) {}
  Error& operator=(Error other) noexcept {
    std::swap(impl_, other.impl_);
    return *this;
  }
  ~Error();

  /// The error of a failed system call: `operation` names the step ("native.mount"), `detail` what it was about
  /// ("/proc"). The code is derived from `sys_errno`; the message reads "/proc: Operation not permitted (EPERM)".
  static Error from_errno(int sys_errno, std::string operation, std::string_view detail = {});

  ErrorCode code() const noexcept;
  /// One line for people, without a trailing full stop.
  const std::string& message() const noexcept;
  /// Dotted step that failed, e.g. "native.mount"; empty when the message says it all.
  const std::string& operation() const noexcept;
  int sys_errno() const noexcept;  ///< errno, or 0
  Origin origin() const noexcept;
  Retry retry() const noexcept;
  const std::vector<std::pair<std::string, std::string>>& details() const noexcept;
  /// The failure underneath, or null. Owned by this error.
  const Error* cause() const noexcept;

  Error&& with_operation(std::string operation) &&;
  Error&& with_origin(Origin origin) &&;
  Error&& with_retry(Retry retry) &&;
  Error&& with_errno(int sys_errno) &&;
  Error&& with_detail(std::string key, std::string value) &&;
  Error&& with_cause(Error cause) &&;
  /// The same failure with "context: " before its message.
  Error&& with_context(std::string_view context) &&;

  /// "native.mount: /proc: Operation not permitted (EPERM) [permission_denied]", control bytes escaped.
  std::string to_string() const;

  /// Says on purpose that this failure does not matter here, and why.
  void ignore(std::string_view why) const noexcept;

 private:
  struct Impl;
  Impl* impl_;
};

}  // namespace sandbox
