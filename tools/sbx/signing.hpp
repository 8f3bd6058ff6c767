#pragma once

#include <string>
#include <string_view>

#include <sandbox/client.hpp>
#include <sandbox/result.hpp>

/// Files of Ed25519 keys that sign for a tenant.
namespace sbx {

/// A private key: PEM as `openssl genpkey -algorithm ed25519` writes it, or the base64 of its seed of 32 bytes.
/// Errors: invalid_argument; permission_denied when others than the owner may read the file; of open and read.
sandbox::Result<sandbox::SigningKey> read_signing_key(const std::string& path);

/// Makes a key and writes its seed to `path` (mode 0600); returns the public key for the daemon's configuration.
/// Errors: already_exists.
sandbox::Result<std::string> make_signing_key(const std::string& path);

/// Bytes of standard base64; line feeds and blanks are skipped. Errors: invalid_argument.
sandbox::Result<std::string> read_base64(std::string_view text);

}  // namespace sbx
