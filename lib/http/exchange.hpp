#pragma once

#include "http/connection.hpp"

namespace sandbox::http {

/// What a handler gets for the request numbered `serial` of that connection.
std::shared_ptr<Exchange> make_exchange(std::shared_ptr<Connection> connection, RequestHead head, std::uint64_t serial);

/// Exchange::proxy. Lives by its own callbacks until both sides are done.
void start_proxy(std::shared_ptr<Connection> connection, const RequestHead& head, std::uint64_t serial, core::UniqueFd upstream,
                 ProxyOptions options);

/// Answers 101 with those fields and turns the connection into a WebSocket.
std::shared_ptr<WebSocket> start_websocket(Connection& connection, const std::string& head, WebSocketOptions options);

}  // namespace sandbox::http
