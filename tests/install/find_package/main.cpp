#include <cstdio>
#include <string>

#include <sandbox/sandbox.hpp>

/// Runs a command in a sandbox with the helper programs of the installation; argument: a state directory.
int main(int argc, char** argv) {
  auto options = sandbox::RuntimeOptions().state_directory(argc > 1 ? argv[1] : "").launchers(1);
  if (std::string(HELPERS) != "") options.helper_directory(HELPERS);
  auto runtime = sandbox::Runtime::open(std::move(options));
  if (!runtime) return std::fprintf(stderr, "%s\n", runtime.error().to_string().c_str()), 1;
  auto box = runtime->create();
  if (!box) return std::fprintf(stderr, "%s\n", box.error().to_string().c_str()), 1;
  const auto result = box->process().exec("echo installed");
  if (!result) return std::fprintf(stderr, "%s\n", result.error().to_string().c_str()), 1;
  std::printf("%s", std::string(result->stdout_text()).c_str());
  return result->ok() && result->stdout_text() == "installed\n" ? 0 : 1;
}
