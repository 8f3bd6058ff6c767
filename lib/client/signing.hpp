#pragma once

#include <string>
#include <string_view>

#include <sandbox/client.hpp>

#include "http/message.hpp"

namespace sandbox::client {

/// The headers with which `tenant` signs a request (sandbox-protocol.md 1.9), with a nonce, so that the daemon takes the set
/// once. `path` is decoded and without its query. `unix_seconds` and `nonce` come from the caller.
http::Headers sign_request(const Tenant& tenant, std::string_view method, std::string_view path, std::int64_t unix_seconds,
                           std::string_view nonce);
/// 128 random bits as text. Errors: internal.
Result<std::string> make_nonce();
std::string base64(ByteView bytes);

}  // namespace sandbox::client
