// A sealed stream against a hostile carrier. Byte 0: bit 0 which end is attacked, bit 1 after a true handshake, bits 2..
// fragment size. Nothing the carrier makes up may come out as content.
#include <cstdlib>

#include "crypto/secure_channel.hpp"

namespace {

using namespace sandbox;
using crypto::SecureChannel;

std::string take(SecureChannel& channel) {
  std::string bytes(as_text(channel.output()));
  channel.sent(bytes.size());
  return bytes;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  static const Identity identity = Identity::from_private_key(as_bytes(std::string(32, 'i'))).value();
  static const std::string client_ephemeral(32, 'c'), agent_ephemeral(32, 'a');
  auto made = SecureChannel::client_with({identity.fingerprint(), {}, {}}, as_bytes(client_ephemeral));
  if (!made) {
    made.error().ignore("no AES instructions here");
    return 0;
  }
  SecureChannel client = std::move(made).value();
  SecureChannel agent = SecureChannel::agent_with({identity, {}, {}}, as_bytes(agent_ephemeral)).value();
  const auto forged = [](ByteView) -> Result<void> { std::abort(); };
  if (data[0] & 2) {
    agent.receive(as_bytes(take(client)), forged).value();
    client.receive(as_bytes(take(agent)), forged).value();
    agent.receive(as_bytes(take(client)), forged).value();
  }
  SecureChannel& victim = data[0] & 1 ? agent : client;
  const std::size_t fragment = (data[0] >> 2) + 1u;
  const std::string_view input(reinterpret_cast<const char*>(data + 1), size - 1);
  bool was_whole = true;
  for (std::size_t at = 0; at < input.size(); at += fragment) {
    const auto got = victim.receive(as_bytes(input.substr(at, fragment)), forged);
    if (got && !was_whole) std::abort();  // failed once, failed for good
    was_whole = got.has_value();
    got.ignore("expected");
  }
  // Who knows neither the identity nor an ephemeral key cannot finish a handshake.
  if (!(data[0] & 2) && victim.established()) std::abort();
  return 0;
}
