#pragma once

#include <string_view>

namespace sandboxd {

/// Tells the service manager, if one asked to be told ($NOTIFY_SOCKET, sd_notify(3)): "READY=1", "STOPPING=1", … Best effort.
void notify(std::string_view state) noexcept;

}  // namespace sandboxd
