#pragma once

#include <string>
#include <vector>

#include "launch/plan.hpp"

namespace sandbox::native {

/// The root of Image::host(): this host's /usr, a made /etc with chosen copies, and empty places. Never /root, /home,
/// keys, passwords or sockets of the host.
std::vector<launch::TreeEntry> host_userland(const std::string& hostname, bool network);

}  // namespace sandbox::native
