// A program with a persistent runtime, for tests that kill it: keeper STATE_DIRECTORY COUNT ORPHAN_MS [load|leave|pause|quiet].
// Makes COUNT sandboxes with a file, a variable and a process that goes on in each; prints their ids, "ready", and waits
// for its end. load: makes, uses and drops more of them all the while. leave: leaves as soon as a line is read. quiet: without
// the process.
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

#include <sandbox/sandbox.hpp>

int main(int argc, char** argv) {
  if (argc < 4) return 64;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);  // a test that is killed leaves none of us
  const std::string mode = argc > 4 ? argv[4] : "";
  auto options = sandbox::RuntimeOptions().state_directory(argv[1]).persistent().warm(3);
  options.orphan_time(std::chrono::milliseconds(std::atol(argv[3])));
  auto runtime = sandbox::Runtime::open(std::move(options)).value();
  std::vector<sandbox::Sandbox> boxes;
  for (int i = 0; i < std::atoi(argv[2]); ++i) {
    const std::string number = std::to_string(i % 3);
    boxes.push_back(runtime.create(sandbox::SandboxSpec().env("NUMBER", number)).value());
    boxes.back().fs().write("/root/f", "file " + number).value();
    boxes.back().env().set("LATER", "set").value();
    if (mode == "quiet") continue;
    boxes.back().process().spawn(
        "setsid sh -c 'while :; do date +%s%N > /tmp/beat; sleep 0.02; done' >/dev/null 2>&1 &").value().wait().value();
  }
  if (mode == "pause" && !boxes.empty()) boxes.front().pause().value();
  for (const auto& box : boxes) std::cout << box.id() << std::endl;
  std::cout << "ready" << std::endl;
  if (mode == "load") {
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i)
      threads.emplace_back([&runtime, i] {
        for (;;) {
          auto box = runtime.create(sandbox::SandboxSpec(), i % 2 ? sandbox::CreateOptions().cold() : sandbox::CreateOptions()).value();
          box.process().exec("echo x > /root/f; sleep 0.01").value();
        }
      });
    for (auto& thread : threads) thread.join();
  }
  std::string line;
  if (mode == "leave") {
    std::getline(std::cin, line);
    runtime.leave().value();
    std::cout << "left" << std::endl;
    return 0;
  }
  ::pause();
}
