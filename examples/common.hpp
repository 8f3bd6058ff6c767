#pragma once

#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>

#include <sandbox/sandbox.hpp>

/// What the examples share, so that each one shows only its own subject.
namespace example {

/// The default spec. Where a host cannot enforce every limit (rootless, mostly) a sandbox is refused unless the program
/// says that it knows: here by SANDBOX_EXAMPLE_ALLOW_UNENFORCED=1, which scripts/demo sets after saying what is missing.
inline sandbox::SandboxSpec spec() {
  sandbox::SandboxSpec spec;
  if (const char* allow = std::getenv("SANDBOX_EXAMPLE_ALLOW_UNENFORCED"); allow != nullptr && *allow == '1') {
    spec.allow(sandbox::allow::unenforced_limits{});
  }
  return spec;
}

/// Ends the example as failed unless `condition` holds.
inline void expect(bool condition, const std::string& what) {
  if (!condition) throw std::runtime_error("expected: " + what);
}

/// Runs `body` and turns what it throws into a line and exit code 1.
template <class Body>
int run(Body&& body) {
  try {
    body();
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "example failed: %s\n", error.what());
    return 1;
  }
}

}  // namespace example
