#include "runtime/spec_record.hpp"

#include <bit>
#include <cstdint>
#include <vector>

#include "protocol/messages.hpp"
#include "protocol/wire.hpp"

namespace sandbox::runtime {
namespace {

constexpr std::uint32_t kRecordVersion = 1;

struct SpecFields {
  std::uint32_t image_kind = 0;
  std::string image;
  std::uint64_t memory = 0, cpus_bits = 0, disk = 0, inodes = 0;
  std::uint32_t pids = 0, open_files = 0;
  std::uint32_t network = 0;
  std::vector<protocol::KeyValue> env;
  std::string workdir, hostname, backend, user;
  bool writable_root = false, sealed = false, allow_unenforced = false;
  SANDBOX_FIELDS(SANDBOX_FIELD(1, image_kind) SANDBOX_FIELD(2, image) SANDBOX_FIELD(3, memory) SANDBOX_FIELD(4, cpus_bits)
                 SANDBOX_FIELD(5, disk) SANDBOX_FIELD(6, inodes) SANDBOX_FIELD(7, pids) SANDBOX_FIELD(8, open_files)
                 SANDBOX_FIELD(9, network) SANDBOX_FIELD(10, env) SANDBOX_FIELD(11, workdir) SANDBOX_FIELD(12, hostname)
                 SANDBOX_FIELD(13, backend) SANDBOX_FIELD(14, user) SANDBOX_FIELD(15, writable_root) SANDBOX_FIELD(16, sealed)
                 SANDBOX_FIELD(17, allow_unenforced))
};

struct RecordFields {
  std::uint32_t version = 0;
  std::string id, spec, note;
  SANDBOX_FIELDS(SANDBOX_FIELD(1, version) SANDBOX_FIELD(2, id) SANDBOX_FIELD(3, spec) SANDBOX_FIELD(4, note))
};

Error unreadable(const char* what) { return Error(ErrorCode::protocol, what).with_operation("runtime.adopt"); }

Result<Image> image_of(const SpecFields& fields) {
  switch (static_cast<Image::Kind>(fields.image_kind)) {
    case Image::Kind::host: return Image::host();
    case Image::Kind::directory: return Image::directory(fields.image);
    case Image::Kind::tar: return Image::tar(fields.image);
    case Image::Kind::template_id: return Image::from_template(fields.image);
  }
  return unreadable("a record names an unknown kind of image");
}

}  // namespace

std::string encode_spec(const SandboxSpec& spec) {
  SpecFields fields;
  fields.image_kind = static_cast<std::uint32_t>(spec.image().kind());
  fields.image = spec.image().reference();
  fields.memory = spec.limits().memory().bytes();
  fields.cpus_bits = std::bit_cast<std::uint64_t>(spec.limits().cpus());
  fields.disk = spec.limits().disk().bytes();
  fields.inodes = spec.limits().inodes();
  fields.pids = spec.limits().pids();
  fields.open_files = spec.limits().open_files();
  fields.network = static_cast<std::uint32_t>(spec.network());
  for (const auto& [name, value] : spec.env()) fields.env.push_back({name, value});
  fields.workdir = spec.workdir();
  fields.hostname = spec.hostname();
  fields.backend = spec.backend();
  fields.user = spec.user();
  fields.writable_root = spec.is_root_writable();
  fields.sealed = spec.is_sealed();
  fields.allow_unenforced = spec.allows_unenforced_limits();
  return protocol::encode(fields);
}

Result<SandboxSpec> decode_spec(std::string_view bytes) {
  SANDBOX_TRY(auto fields, protocol::decode<SpecFields>(as_bytes(bytes)));
  if (fields.network > static_cast<std::uint32_t>(Network::bridge)) return unreadable("a record names an unknown network");
  SandboxSpec spec;
  SANDBOX_TRY(auto image, image_of(fields));
  spec.image(std::move(image));
  Limits limits;
  limits.memory(ByteCount(fields.memory)).cpus(std::bit_cast<double>(fields.cpus_bits)).pids(fields.pids);
  limits.open_files(fields.open_files).disk(ByteCount(fields.disk)).inodes(fields.inodes);
  spec.limits(limits).network(static_cast<Network>(fields.network));
  for (auto& [name, value] : fields.env) spec.env(std::move(name), std::move(value));
  spec.workdir(std::move(fields.workdir)).hostname(std::move(fields.hostname)).backend(std::move(fields.backend));
  spec.user(std::move(fields.user)).writable_root(fields.writable_root).sealed(fields.sealed);
  if (fields.allow_unenforced) spec.allow(allow::unenforced_limits{});
  return spec;
}

std::string encode_record(std::string_view id, std::string_view encoded_spec, std::string_view note) {
  RecordFields fields;
  fields.version = kRecordVersion;
  fields.id = id;
  fields.spec = encoded_spec;
  fields.note = note;
  return protocol::encode(fields);
}

Result<BoxRecord> decode_record(std::string_view bytes) {
  SANDBOX_TRY(auto fields, protocol::decode<RecordFields>(as_bytes(bytes)));
  if (fields.version != kRecordVersion) return unreadable("a record is of another version");
  if (fields.id.empty()) return unreadable("a record names no sandbox");
  return BoxRecord{std::move(fields.id), std::move(fields.spec), std::move(fields.note)};
}

}  // namespace sandbox::runtime
