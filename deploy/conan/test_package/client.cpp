#include <cstdio>

#include <sandbox/client.hpp>
#include <sandbox/version.hpp>

// There is no daemon where packages are tested: that one program links and gets the right answer is what is shown.
int main() {
  const auto client = sandbox::Client::connect("unix:///nonexistent/sandboxd.sock");
  if (client) return 1;
  std::printf("%s: %s\n", SANDBOX_VERSION_STRING, client.error().to_string().c_str());
  return client.error().code() == sandbox::ErrorCode::unavailable ? 0 : 1;
}
