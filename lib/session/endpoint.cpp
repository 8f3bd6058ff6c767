#include "session/endpoint.hpp"

#include <algorithm>

namespace sandbox::session {

Result<void> Endpoint::receive(ByteView wire) {
  if (!channel_) return session_.receive(wire);
  auto got = channel_->receive(wire, [this](ByteView plain) { return session_.receive(plain); });
  if (!got) session_.fail(got.error());
  return got;
}

ByteView Endpoint::output() {
  if (!channel_) return session_.output();
  if (const ByteView ready = channel_->output(); !ready.empty()) return ready;
  if (!channel_->established()) return {};
  // Sealed only now, one record at a time: whatever becomes urgent meanwhile still overtakes the rest.
  const ByteView plain = session_.output();
  const ByteView part = plain.first(std::min(plain.size(), crypto::kMaxPlain));
  if (part.empty()) return {};
  if (const auto sealed = channel_->seal(part); !sealed) {
    session_.fail(sealed.error());
    return {};
  }
  session_.sent(part.size());
  return channel_->output();
}

void Endpoint::sent(std::size_t count) {
  if (channel_) channel_->sent(count);
  else session_.sent(count);
}

Result<void> Endpoint::finish() {
  if (channel_) SANDBOX_CHECK(channel_->finish());
  return {};
}

void Endpoint::close() {
  if (channel_ && channel_->established()) channel_->close().ignore("the transport ends anyway");
}

}  // namespace sandbox::session
