// Makes sandboxes and waits to be killed. Prints one line once they live: the host pids of its launchers are its children.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "backends/native/native.hpp"

int main() {
  using namespace sandbox;
  auto backend = native::make_backend();
  backend::ResolvedImage image;
  image.host_userland = true;
  auto recipe = backend->prepare(SandboxSpec(), image);
  if (!recipe) {
    std::printf("%s\n", recipe.error().to_string().c_str());
    return 1;
  }
  std::vector<std::unique_ptr<backend::Instance>> alive;
  for (int i = 0; i < 6; ++i) {
    auto made = (*recipe)->create(core::SteadyClock::now() + std::chrono::seconds(10));
    if (!made) {
      std::printf("%s\n", made.error().to_string().c_str());
      return 1;
    }
    alive.push_back(*std::move(made));
  }
  std::printf("ready\n");
  std::fflush(stdout);
  ::sleep(60);
  return 0;
}
