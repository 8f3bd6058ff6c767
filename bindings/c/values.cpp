#include "values.hpp"

#include <span>

#include <sandbox/client.hpp>
#include <sandbox/process.hpp>
#include <sandbox/version.hpp>

#include "crypto/secret.hpp"
#include "guard.hpp"

// The numbers of both sides are the same, so that a cast is a translation.
static_assert(static_cast<int>(sandbox::ErrorCode::invalid_argument) == SBX_INVALID_ARGUMENT);
static_assert(static_cast<int>(sandbox::ErrorCode::unavailable) == SBX_UNAVAILABLE);
static_assert(static_cast<int>(sandbox::ErrorCode::internal) == SBX_INTERNAL);
static_assert(static_cast<int>(sandbox::Retry::after_backoff) == SBX_RETRY_AFTER_BACKOFF);

using namespace sandbox;
using namespace sandbox::c;

const char* sbx_version(void) { return SANDBOX_VERSION_STRING; }

const char* sbx_code_name(sbx_code code) {
  const int number = static_cast<int>(code);
  if (number == SBX_OK) return "ok";
  if (number < SBX_INVALID_ARGUMENT || number > SBX_INTERNAL) return "unknown";
  return sandbox::name(static_cast<ErrorCode>(number)).data();  // of a literal: ends with a NUL
}

sbx_view sbx_bytes_view(const sbx_bytes* bytes) { return bytes ? bytes->view() : view_of({}); }
void sbx_bytes_free(sbx_bytes** bytes) { free_value(bytes); }

sbx_code sbx_error_code(const sbx_error* error) { return error ? static_cast<sbx_code>(error->error.code()) : SBX_OK; }
sbx_view sbx_error_message(const sbx_error* error) { return view_of(error ? std::string_view(error->message) : std::string_view()); }
sbx_view sbx_error_operation(const sbx_error* error) {
  return view_of(error ? std::string_view(error->error.operation()) : std::string_view());
}
sbx_view sbx_error_text(const sbx_error* error) { return view_of(error ? std::string_view(error->text) : std::string_view()); }
int sbx_error_errno(const sbx_error* error) { return error ? error->error.sys_errno() : 0; }
sbx_retry sbx_error_retry(const sbx_error* error) {
  return error ? static_cast<sbx_retry>(error->error.retry()) : SBX_RETRY_NEVER;
}
void sbx_error_free(sbx_error** error) { free_value(error); }

sbx_code sbx_signing_key_generate(unsigned char seed[32], sbx_bytes** public_key, sbx_error** err) {
  return guard(err, public_key, [&]() -> Result<BytesPtr> {
    if (!seed) return null_argument("seed");
    const auto room = std::as_writable_bytes(std::span(seed, 32));
    SANDBOX_CHECK(crypto::fill_random(room));
    SANDBOX_TRY(const SigningKey key, SigningKey::from_seed(room));
    return own(key.public_key());
  });
}
