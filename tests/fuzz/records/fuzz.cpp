// Records that outlive a runtime and come back from a launcher: of a sandbox (byte 0 modulo 3 is 0), of a spec (1), of a
// service's sandbox (2). What decodes encodes to a record that says the same.
#include <cstdlib>
#include <span>
#include <string>

#include <sandbox/bytes.hpp>

#include "runtime/spec_record.hpp"
#include "server/birth.hpp"

namespace {

using namespace sandbox;

void check_spec(std::string_view in) {
  const auto spec = runtime::decode_spec(in);
  if (!spec) return spec.error().ignore("expected");
  const std::string once = runtime::encode_spec(*spec);
  const auto again = runtime::decode_spec(once);
  if (!again || runtime::encode_spec(*again) != once) std::abort();
}

void check_birth(std::string_view in) {
  const auto birth = server::decode_birth(in);
  if (!birth) return birth.error().ignore("expected");
  const auto again = server::decode_birth(server::encode_birth(*birth));
  if (!again || again->node != birth->node || !(again->record == birth->record)) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view in = as_text(std::as_bytes(std::span(data + 1, size - 1)));
  if (data[0] % 3 == 1) {
    check_spec(in);
    return 0;
  }
  if (data[0] % 3 == 2) {
    check_birth(in);
    return 0;
  }
  const auto record = runtime::decode_record(in);
  if (!record) {
    record.error().ignore("expected");
    return 0;
  }
  const auto again = runtime::decode_record(runtime::encode_record(record->id, record->spec, record->note));
  if (!again || again->id != record->id || again->spec != record->spec || again->note != record->note) std::abort();
  check_spec(record->spec);
  return 0;
}
