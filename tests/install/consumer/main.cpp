#include <cstdio>

#include <sandbox/sandbox.hpp>

// Not run against the kernel: that the headers and the link line of a user are complete is what is tested here.
int main() {
  const auto spec = sandbox::SandboxSpec().limits(sandbox::Limits().memory(sandbox::ByteCount::mib(64)));
  auto opened = sandbox::Runtime::open(sandbox::RuntimeOptions().helper_directory("/nonexistent"));
  if (opened) {
    std::fputs("opened without helpers\n", stderr);
    return 1;
  }
  std::printf("%s: %s\n", SANDBOX_VERSION_STRING, opened.error().to_string().c_str());
  return spec.limits().memory() == sandbox::ByteCount::mib(64) && opened.error().code() == sandbox::ErrorCode::not_found ? 0 : 1;
}
