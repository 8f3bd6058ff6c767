#include "backends/native/native.hpp"
#include "runtime/runtime_state.hpp"
#include "runtime/state_directory.hpp"

namespace sandbox {

Result<std::shared_ptr<RuntimeState>> RuntimeState::open(RuntimeOptions options) {
  native::NativeOptions native_options;
  native_options.helper_directory = options.helper_directory();
  native_options.launchers = options.launchers();
  if (options.is_persistent()) {
    native_options.run_directory = runtime::state_directory(options) + "/run";
    native_options.orphan_time = options.orphan_time();
  }
  std::vector<std::unique_ptr<backend::Backend>> backends;
  backends.push_back(native::make_backend(std::move(native_options)));
  return open_with(std::move(options), std::move(backends));
}

}  // namespace sandbox
