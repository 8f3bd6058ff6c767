#include "server/birth.hpp"

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "protocol/messages.hpp"
#include "protocol/wire.hpp"

namespace sandbox::server {
namespace {

constexpr std::uint32_t kVersion = 1;

struct Fields {
  std::uint32_t version = 0;
  std::string node, identity, profile, template_id, image;
  std::vector<protocol::KeyValue> labels;
  std::uint64_t ttl = 0;         ///< seconds
  std::uint64_t created_us = 0;  ///< since 1970
  SANDBOX_FIELDS(SANDBOX_FIELD(1, version) SANDBOX_FIELD(2, node) SANDBOX_FIELD(3, identity) SANDBOX_FIELD(4, profile)
                 SANDBOX_FIELD(5, template_id) SANDBOX_FIELD(6, image) SANDBOX_FIELD(7, labels) SANDBOX_FIELD(8, ttl)
                 SANDBOX_FIELD(9, created_us))
};

}  // namespace

std::string encode_birth(const Birth& birth) {
  const StoredSandbox& record = birth.record;
  Fields fields;
  fields.version = kVersion;
  fields.node = birth.node;
  fields.identity = record.identity;
  fields.profile = record.profile;
  fields.template_id = record.template_id;
  fields.image = record.image;
  for (const auto& [key, value] : record.labels) fields.labels.push_back({key, value});
  fields.ttl = static_cast<std::uint64_t>(std::max<std::int64_t>(record.ttl.count(), 0));
  const auto created = std::chrono::duration_cast<std::chrono::microseconds>(record.created.time_since_epoch()).count();
  fields.created_us = static_cast<std::uint64_t>(std::max<std::int64_t>(created, 0));
  return protocol::encode(fields);
}

Result<Birth> decode_birth(std::string_view bytes) {
  SANDBOX_TRY(auto fields, protocol::decode<Fields>(as_bytes(bytes)));
  // What the clock's type can hold, and no ttl of more than 136 years.
  constexpr auto kLatest = static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(WallTime::duration::max()).count());
  if (fields.version != kVersion || fields.created_us > kLatest || fields.ttl > std::numeric_limits<std::uint32_t>::max())
    return Error(ErrorCode::protocol, "not the note of a service like this one").with_operation("server.recover");
  Birth birth;
  birth.node = std::move(fields.node);
  birth.record.identity = std::move(fields.identity);
  birth.record.profile = std::move(fields.profile);
  birth.record.template_id = std::move(fields.template_id);
  birth.record.image = std::move(fields.image);
  for (auto& [key, value] : fields.labels) birth.record.labels.insert_or_assign(std::move(key), std::move(value));
  birth.record.ttl = std::chrono::seconds(fields.ttl);
  birth.record.created = WallTime(std::chrono::microseconds(fields.created_us));
  return birth;
}

}  // namespace sandbox::server
