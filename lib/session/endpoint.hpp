#pragma once

#include <optional>

#include "crypto/secure_channel.hpp"
#include "session/session.hpp"

/// What a transport is joined to: a session, sealed or not. The same three calls as Session, so that whoever moves bytes
/// need not know which it is. Sans-I/O; not thread-safe. One endpoint per transport: a resumed session gets a new one.
namespace sandbox::session {

class Endpoint {
 public:
  /// `session` must outlive the endpoint.
  explicit Endpoint(Session& session) : session_(session) {}
  Endpoint(Session& session, crypto::SecureChannel channel) : session_(session), channel_(std::move(channel)) {}

  /// Bytes from the transport. Errors, of the seal or of the session, have ended the session.
  Result<void> receive(ByteView wire);
  /// The next bytes for the transport; empty when there are none (yet: nothing of the session leaves before the peer
  /// has proved itself). Valid until the next call on the endpoint or the session.
  ByteView output();
  void sent(std::size_t count);

  /// The transport ended. Errors: unavailable; for a sealed session that was not closed first, "cut off".
  Result<void> finish();
  /// Tells the peer that nothing follows; send output() afterwards.
  void close();

  const crypto::SecureChannel* channel() const noexcept { return channel_ ? &*channel_ : nullptr; }

 private:
  Session& session_;
  std::optional<crypto::SecureChannel> channel_;
};

}  // namespace sandbox::session
