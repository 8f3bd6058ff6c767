#pragma once

#include <cstdint>

namespace sandbox {

/// What a sandbox's network reaches.
enum class Network : std::uint8_t {
  none,    ///< loopback only. Ports inside are still reachable through Net::connect and Net::expose.
  bridge,  ///< own address on eth0: public addresses only; no host, neighbours, private or metadata addresses
};

/// Every weakening of the default is one of these types, so that a search for `allow::` lists them all.
namespace allow {

/// Go on where this host cannot enforce some limit (rootless without delegated cgroups, say). What is missing is
/// listed by Sandbox::unenforced().
struct unenforced_limits {};

}  // namespace allow

}  // namespace sandbox
