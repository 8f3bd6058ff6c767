#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "backend/backend.hpp"
#include "backends/native/launcher.hpp"
#include "backends/native/verify.hpp"

/// Sandboxes that an earlier process committed and left with their launchers.
namespace sandbox::native {

/// What a launcher keeps of a committed sandbox: how it must look from inside, and the record of whoever stands above.
struct Record {
  std::vector<std::string> unenforced, mounts;
  bool writable_root = false, bridge = false, benchmark_without_network_namespace = false;
  std::uint64_t memory = 0;
  std::string above;
  bool holds_layers = false;
  SANDBOX_FIELDS(SANDBOX_FIELD(1, unenforced) SANDBOX_FIELD(2, mounts) SANDBOX_FIELD(3, writable_root) SANDBOX_FIELD(4, bridge)
                 SANDBOX_FIELD(5, benchmark_without_network_namespace) SANDBOX_FIELD(6, memory) SANDBOX_FIELD(7, above)
                 SANDBOX_FIELD(8, holds_layers))

  static Record of(const Expectation& expected, std::string_view above);
  std::shared_ptr<const Expectation> expectation() const;
};

/// Takes over what `launcher` holds and adds it to `found`. What has ended is destroyed there and added as lost. Errors:
/// those of the launcher; then nothing was taken over that is not in `found`.
Result<void> adopt_from(const std::shared_ptr<Launcher>& launcher, core::TimePoint deadline, std::vector<backend::Found>& found);

}  // namespace sandbox::native
