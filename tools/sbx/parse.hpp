#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <utility>

#include <sandbox/bytes.hpp>
#include <sandbox/policy.hpp>
#include <sandbox/result.hpp>

/// Words of the command line as values. All errors are invalid_argument and say what would be right.
namespace sbx {

/// "512m", "1.5g", "64KiB", "4096": powers of 1024, case does not matter, no suffix is bytes. Zero is refused.
sandbox::Result<sandbox::ByteCount> parse_size(std::string_view text);

/// "500ms", "10s", "1m30s", "2h", "1.5s"; a bare number is seconds. Zero is refused; finer than 1 ms is rounded up.
sandbox::Result<std::chrono::milliseconds> parse_duration(std::string_view text);

/// "K=V", or "K" for the value of the caller's own variable (not set: an error).
sandbox::Result<std::pair<std::string, std::string>> parse_env(std::string_view text);

/// The two ends of a transfer.
struct Transfer {
  std::string host;  ///< path on this host
  std::string box;   ///< absolute path inside
};
/// "HOST:BOX", split at the last colon. A relative BOX is below `workdir`; one that ends in "/" gets HOST's last name.
sandbox::Result<Transfer> parse_upload(std::string_view text, std::string_view workdir);
/// "BOX:HOST", split at the first colon; HOST ending in "/" (or ".") gets BOX's last name.
sandbox::Result<Transfer> parse_download(std::string_view text, std::string_view workdir);

/// "none" or "bridge".
sandbox::Result<sandbox::Network> parse_network(std::string_view text);

}  // namespace sbx
