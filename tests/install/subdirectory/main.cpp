#include <cstdio>

#include <sandbox/client.hpp>
#include <sandbox/version.hpp>

// Not run against a daemon: that the headers and the link line of a user are complete is what is tested here.
int main() {
  const auto client = sandbox::Client::connect("unix:///nonexistent/sandboxd.sock");
  if (client) {
    std::fputs("connected to nobody\n", stderr);
    return 1;
  }
  std::printf("%s: %s\n", SANDBOX_VERSION_STRING, client.error().to_string().c_str());
  return client.error().code() == sandbox::ErrorCode::unavailable ? 0 : 1;
}
