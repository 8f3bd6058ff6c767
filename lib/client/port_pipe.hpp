#pragma once

#include <memory>

#include <sandbox/result.hpp>

#include "aio/reactor.hpp"
#include "http/websocket_stream.hpp"

namespace sandbox::client {

/// A WebSocket of raw bytes seen as a socket: the reactor carries them between it and one end of a socketpair. Each
/// direction holds at most one buffer of 64 KiB. Owns itself until both directions are over.
class PortPipe : public std::enable_shared_from_this<PortPipe> {
 public:
  /// The other end: blocking, close-on-exec, the caller's.
  static Result<int> open(aio::Reactor& reactor, std::unique_ptr<http::WebSocketStream> socket);
  ~PortPipe();

 private:
  struct Impl;
  explicit PortPipe(std::unique_ptr<Impl> impl);
  void arm();
  void carry();
  std::unique_ptr<Impl> impl_;
};

}  // namespace sandbox::client
