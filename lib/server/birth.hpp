#pragma once

#include <string>
#include <string_view>

#include "server/store.hpp"

/// What the launcher keeps of a sandbox for this service (RuntimeState::async_create): told in the packet that commits the
/// sandbox, so that a daemon killed right behind its answer leaves nothing that the next one cannot place.
namespace sandbox::server {

struct Birth {
  std::string node;      ///< the service's node when it was made; part of the sandbox's id
  StoredSandbox record;  ///< of it: identity, profile, template_id, image, labels, ttl, created
};

std::string encode_birth(const Birth& birth);
/// Errors: protocol.
Result<Birth> decode_birth(std::string_view bytes);

}  // namespace sandbox::server
