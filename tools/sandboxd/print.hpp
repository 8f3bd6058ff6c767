#pragma once

#include <string>

#include "server/config.hpp"

namespace sandboxd {

/// The settings in force as TOML. Secrets (hashes of tokens) are only counted.
std::string print_config(const sandbox::server::Config& config);

}  // namespace sandboxd
