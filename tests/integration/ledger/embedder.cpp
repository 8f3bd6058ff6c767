// A program that embeds the runtime, for tests that kill it: embedder STATE_DIRECTORY COUNT [save]. Makes COUNT
// sandboxes with work in them, prints "ready", and waits for its end.
#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include <sandbox/sandbox.hpp>

int main(int argc, char** argv) {
  if (argc < 3) return 64;
  auto runtime = sandbox::Runtime::open(sandbox::RuntimeOptions().state_directory(argv[1]).warm(2)).value();
  std::vector<sandbox::Sandbox> boxes;
  std::vector<sandbox::RunningProcess> work;
  for (int i = 0; i < std::atoi(argv[2]); ++i) {
    boxes.push_back(runtime.create().value());
    boxes.back().fs().write("/root/f", std::string(1 << 20, 'x')).value();
    work.push_back(boxes.back().process().spawn("setsid sleep 1000 & sleep 1000").value());
  }
  std::cout << "ready" << std::endl;
  if (argc > 3 && std::string(argv[3]) == "save") {
    for (int i = 0;; ++i) {
      boxes[0].fs().write("/root/n", std::to_string(i) + std::string(20 << 20, 'r')).value();
      boxes[0].save_template("endless").value();
    }
  }
  ::pause();
}
