#pragma once

#include <string>
#include <vector>

#include "launch/plan.hpp"

namespace sandbox::native {

/// The root of Image::host(): this host's /usr, a made /etc with chosen copies, and empty places. Never /root, /home,
/// keys, passwords or sockets of the host. `resolv_conf` is the content of that file.
std::vector<launch::TreeEntry> host_userland(const std::string& hostname, const std::string& resolv_conf);

}  // namespace sandbox::native
