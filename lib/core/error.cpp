#include <sandbox/error.hpp>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "core/errno_name.hpp"
#include "core/text.hpp"

namespace sandbox {

struct Error::Impl {
  std::atomic<int> references{1};
  mutable std::atomic<bool> read{false};
  ErrorCode code;
  Origin origin = Origin::local;
  Retry retry = Retry::never;
  int sys_errno = 0;
  std::string message;
  std::string operation;
  std::vector<std::pair<std::string, std::string>> details;
  Error* cause = nullptr;
};

namespace {

ErrorCode code_of(int sys_errno) {
  switch (sys_errno) {
    case ENOENT: case ESRCH: case ENODEV: case ENXIO: case ENOTDIR: return ErrorCode::not_found;
    case EEXIST: return ErrorCode::already_exists;
    case EPERM: case EACCES: case EROFS: return ErrorCode::permission_denied;
    case ENOMEM: case ENOSPC: case EDQUOT: case EMFILE: case ENFILE: case EAGAIN: case EFBIG: case EUSERS:
      return ErrorCode::resource_exhausted;
    case EINVAL: case ENAMETOOLONG: case EISDIR: case ELOOP: case E2BIG: case EBADF: case EXDEV: case EILSEQ:
      return ErrorCode::invalid_argument;
    case ENOTEMPTY: case EBUSY: case ETXTBSY: return ErrorCode::failed_precondition;
    case EPIPE: case ECONNRESET: case ECONNREFUSED: case ENOTCONN: case EHOSTUNREACH: case ENETUNREACH: case EIO:
      return ErrorCode::unavailable;
    case ETIMEDOUT: case ETIME: return ErrorCode::deadline_exceeded;
    case ECANCELED: case EINTR: return ErrorCode::cancelled;
    case ENOSYS: case EOPNOTSUPP: case ENOEXEC: case EPROTONOSUPPORT: case EAFNOSUPPORT: return ErrorCode::unsupported;
    case EPROTO: case EBADMSG: return ErrorCode::protocol;
    default: return ErrorCode::internal;
  }
}

Retry retry_of(int sys_errno) {
  switch (sys_errno) {
    case EAGAIN: case ENOMEM: case ENFILE: case EBUSY: return Retry::after_backoff;
    case EINTR: case ECONNRESET: case EPIPE: return Retry::now;
    default: return Retry::never;
  }
}

}  // namespace

std::string_view name(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::invalid_argument: return "invalid_argument";
    case ErrorCode::not_found: return "not_found";
    case ErrorCode::already_exists: return "already_exists";
    case ErrorCode::permission_denied: return "permission_denied";
    case ErrorCode::unauthenticated: return "unauthenticated";
    case ErrorCode::resource_exhausted: return "resource_exhausted";
    case ErrorCode::failed_precondition: return "failed_precondition";
    case ErrorCode::unavailable: return "unavailable";
    case ErrorCode::deadline_exceeded: return "deadline_exceeded";
    case ErrorCode::cancelled: return "cancelled";
    case ErrorCode::unsupported: return "unsupported";
    case ErrorCode::protocol: return "protocol";
    case ErrorCode::corrupt: return "corrupt";
    case ErrorCode::internal: return "internal";
  }
  return "unknown";
}

Error::Error(ErrorCode code, std::string message) : impl_(new Impl) {
  impl_->code = code;
  impl_->message = std::move(message);
}

Error::Error(const Error& other) noexcept : impl_(other.impl_) {
  if (impl_) impl_->references.fetch_add(1, std::memory_order_relaxed);
}

Error::~Error() {
  if (!impl_ || impl_->references.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
#if defined(SANDBOX_CHECK_ERRORS)
  if (!impl_->read.load(std::memory_order_relaxed)) {
    const std::string text = to_string();
    std::fprintf(stderr, "sandbox: an error was dropped unread: %s\n", text.c_str());
    std::abort();
  }
#endif
  delete impl_->cause;
  delete impl_;
}

Error Error::from_errno(int sys_errno, std::string operation, std::string_view detail) {
  std::string text(detail);
  if (!text.empty()) text += ": ";
  text += std::strerror(sys_errno);
  text += " (";
  text += core::errno_name(sys_errno);
  text += ")";
  Error error(code_of(sys_errno), std::move(text));
  error.impl_->sys_errno = sys_errno;
  error.impl_->retry = retry_of(sys_errno);
  error.impl_->operation = std::move(operation);
  return error;
}

ErrorCode Error::code() const noexcept {
  impl_->read.store(true, std::memory_order_relaxed);
  return impl_->code;
}
const std::string& Error::message() const noexcept {
  impl_->read.store(true, std::memory_order_relaxed);
  return impl_->message;
}
const std::string& Error::operation() const noexcept { return impl_->operation; }
int Error::sys_errno() const noexcept {
  impl_->read.store(true, std::memory_order_relaxed);
  return impl_->sys_errno;
}
Origin Error::origin() const noexcept { return impl_->origin; }
Retry Error::retry() const noexcept { return impl_->retry; }
const std::vector<std::pair<std::string, std::string>>& Error::details() const noexcept { return impl_->details; }
const Error* Error::cause() const noexcept { return impl_->cause; }

// An Error is shared once copied; changing one makes it its own first.
static_assert(sizeof(Error) == sizeof(void*));
#define SANDBOX_OWN()                                            \
  do {                                                           \
    if (impl_->references.load(std::memory_order_acquire) != 1) { \
      auto* own = new Impl;                                      \
      own->code = impl_->code;                                   \
      own->origin = impl_->origin;                               \
      own->retry = impl_->retry;                                 \
      own->sys_errno = impl_->sys_errno;                         \
      own->message = impl_->message;                             \
      own->operation = impl_->operation;                         \
      own->details = impl_->details;                             \
      if (impl_->cause) own->cause = new Error(*impl_->cause);   \
      impl_->read.store(true, std::memory_order_relaxed);        \
      *this = [&] {                                              \
        Error fresh(own->code, {});                              \
        delete std::exchange(fresh.impl_, own);                  \
        return fresh;                                            \
      }();                                                       \
    }                                                            \
  } while (false)

Error&& Error::with_operation(std::string operation) && {
  SANDBOX_OWN();
  impl_->operation = std::move(operation);
  return std::move(*this);
}
Error&& Error::with_origin(Origin origin) && {
  SANDBOX_OWN();
  impl_->origin = origin;
  return std::move(*this);
}
Error&& Error::with_retry(Retry retry) && {
  SANDBOX_OWN();
  impl_->retry = retry;
  return std::move(*this);
}
Error&& Error::with_errno(int sys_errno) && {
  SANDBOX_OWN();
  impl_->sys_errno = sys_errno;
  return std::move(*this);
}
Error&& Error::with_detail(std::string key, std::string value) && {
  SANDBOX_OWN();
  impl_->details.emplace_back(std::move(key), std::move(value));
  return std::move(*this);
}
Error&& Error::with_cause(Error cause) && {
  SANDBOX_OWN();
  cause.ignore("kept as the cause of another error");
  delete impl_->cause;
  impl_->cause = new Error(std::move(cause));
  return std::move(*this);
}
Error&& Error::with_context(std::string_view context) && {
  SANDBOX_OWN();
  impl_->message.insert(0, ": ").insert(0, context);
  return std::move(*this);
}
#undef SANDBOX_OWN

std::string Error::to_string() const {
  impl_->read.store(true, std::memory_order_relaxed);
  std::string text;
  if (!impl_->operation.empty()) text += impl_->operation + ": ";
  text += core::escape_control(impl_->message);
  text += " [";
  text += name(impl_->code);
  text += "]";
  if (impl_->cause) text += "; because " + impl_->cause->to_string();
  return text;
}

void Error::ignore(std::string_view) const noexcept {
  if (impl_) impl_->read.store(true, std::memory_order_relaxed);
}

}  // namespace sandbox
