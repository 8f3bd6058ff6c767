#include <cstdio>
#include <string>

#include <sandbox/sandbox.hpp>

// Runs a command where this host can make sandboxes; elsewhere it must say why not.
int main() {
  auto runtime = sandbox::Runtime::open(sandbox::RuntimeOptions().launchers(1));
  if (!runtime) return std::fprintf(stderr, "%s\n", runtime.error().to_string().c_str()), 1;  // the helper programs are missing
  auto box = runtime->create();
  if (!box) {
    std::printf("not on this host: %s\n", box.error().to_string().c_str());
    return box.error().code() == sandbox::ErrorCode::failed_precondition || box.error().code() == sandbox::ErrorCode::permission_denied ? 0 : 1;
  }
  const auto result = box->process().exec("echo packaged");
  if (!result) return std::fprintf(stderr, "%s\n", result.error().to_string().c_str()), 1;
  std::printf("%s", std::string(result->stdout_text()).c_str());
  return result->stdout_text() == "packaged\n" ? 0 : 1;
}
