// Every reader of lib/rest: whatever is read must be written as something that reads as the same text again.
#include <cstdint>
#include <cstdlib>

#include "rest/rest.hpp"

namespace {

using namespace sandbox;

template <class T, class Write>
void check(Result<T> (*read)(std::string_view), Write&& write, std::string_view json) {
  const auto value = read(json);
  if (!value) {
    value.error().ignore("expected");
    return;
  }
  const std::string once = write(*value);
  const auto again = read(once);
  if (!again || write(*again) != once) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view json(reinterpret_cast<const char*>(data + 1), size - 1);
  const auto plain = [](const auto& value) { return rest::write(value); };
  switch (data[0] % 13) {
    case 0: check(rest::read_spec, plain, json); break;
    case 1: check(rest::read_sandbox, plain, json); break;
    case 2: check(rest::read_sandboxes, plain, json); break;
    case 3: check(rest::read_stats, [](const SandboxStats& stats) { return rest::write(stats, 1); }, json); break;
    case 4: check(rest::read_template, plain, json); break;
    case 5: check(rest::read_templates, plain, json); break;
    case 6: check(rest::read_ports, plain, json); break;
    case 7: check(rest::read_profiles, plain, json); break;
    case 8: check(rest::read_pools, [](const std::vector<PoolInfo>& pools) { return rest::write(pools); }, json); break;
    case 9: check(rest::read_history, plain, json); break;
    case 10: check(rest::read_health, plain, json); break;
    case 11: rest::read_create(json).ignore("has no writer of its own"); break;
    default: rest::read_error(400 + data[0], json).ignore("any text makes an error"); break;
  }
  return 0;
}
