// A configuration of any bytes: read or refused with reasons, never both, and reading it twice gives the same.
#include <cstdlib>
#include <string>

#include "server/config.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sandbox::server;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  // A token file is the one thing besides the text that is read; the fuzzer shall not choose files.
  if (text.find("token_file") != text.npos) return 0;
  const auto empty = [](std::string_view) -> std::optional<std::string> { return std::nullopt; };
  const LoadedConfig once = parse_config(text, "fuzz", empty);
  const LoadedConfig again = parse_config(text, "fuzz", empty);
  if (once.ok() != again.ok() || once.errors.size() != again.errors.size() || !(once.config == again.config)) std::abort();
  if (once.ok() && (once.config.server.socket.empty() || once.config.limits.max_sandboxes == 0 || !changes(once.config, again.config).empty())) {
    std::abort();
  }
  for (const Diagnostic& one : once.errors) {
    for (const char c : one.to_string()) {
      if (static_cast<unsigned char>(c) < 0x20) std::abort();
    }
  }
  return 0;
}
