#pragma once

#include <memory>

#include "http/websocket_stream.hpp"
#include "link/link.hpp"

namespace sandbox::client {

/// A WebSocket as the byte stream of a link. shut_down() says goodbye first (1000), drop() does not.
std::unique_ptr<link::ByteStream> websocket_bytes(std::unique_ptr<http::WebSocketStream> socket);

}  // namespace sandbox::client
