#include "core/text.hpp"
#include "rest/forms.hpp"

namespace sandbox::rest {
namespace {

/// Error texts are for people; more than this is somebody filling our logs.
constexpr std::size_t kMaxText = 4096;

ErrorCode code_of_status(int status) noexcept {
  switch (status) {
    case 400: case 405: case 411: case 413: case 414: case 431: return ErrorCode::invalid_argument;
    case 401: return ErrorCode::unauthenticated;
    case 403: return ErrorCode::permission_denied;
    case 404: return ErrorCode::not_found;
    case 409: return ErrorCode::failed_precondition;
    case 408: case 504: return ErrorCode::deadline_exceeded;
    case 429: return ErrorCode::resource_exhausted;
    case 501: return ErrorCode::unsupported;
    case 502: case 503: return ErrorCode::unavailable;
    default: return status >= 500 ? ErrorCode::internal : ErrorCode::protocol;
  }
}

}  // namespace

std::string write_error(ErrorCode code, std::string_view text) {
  JsonWriter json;
  json.begin_object().member("error", text).member("code", sandbox::name(code)).end_object();
  return std::move(json).take();
}

std::string write_error(const Error& error) {
  return write_error(error.code(), error.operation().empty() ? error.message() : error.operation() + ": " + error.message());
}

Error read_error(int status, std::string_view body) {
  std::string text;
  std::optional<ErrorCode> code;
  const auto read = read_document<bool>(body.substr(0, kMaxDocument), [&](const Value& value) -> Result<bool> {
    auto taken = value.each_member([&](const Value& member) -> Result<void> {
      if (member.is("error")) text = member.text();
      if (member.is("code")) code = code_of(member.text());
      return {};
    });
    if (!taken) return std::move(taken).error();
    return true;
  });
  if (!read) {
    read.ignore("plain text, as routers and proxies answer");
    text = body.substr(0, body.find_first_of("\r\n<"));
  }
  text.resize(std::min(text.size(), kMaxText));
  if (text.empty()) text = "the daemon answered with status " + std::to_string(status);
  Error error(code.value_or(code_of_status(status)), core::escape_control(text));
  if (status == 429 || status == 503) return std::move(error).with_retry(Retry::after_backoff);
  return error;
}

int status_of(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::invalid_argument: return 400;
    case ErrorCode::not_found: return 404;
    case ErrorCode::already_exists: return 409;
    case ErrorCode::permission_denied: return 403;
    case ErrorCode::unauthenticated: return 401;
    case ErrorCode::resource_exhausted: return 429;
    case ErrorCode::failed_precondition: return 409;
    case ErrorCode::unavailable: return 503;
    case ErrorCode::deadline_exceeded: return 504;
    case ErrorCode::unsupported: return 501;
    case ErrorCode::cancelled: case ErrorCode::protocol: case ErrorCode::corrupt: case ErrorCode::internal: break;
  }
  return 500;
}

std::optional<ErrorCode> code_of(std::string_view text) noexcept {
  for (int i = 1; i <= static_cast<int>(ErrorCode::internal); ++i)
    if (sandbox::name(static_cast<ErrorCode>(i)) == text) return static_cast<ErrorCode>(i);
  return std::nullopt;
}

}  // namespace sandbox::rest
