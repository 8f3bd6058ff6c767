// A runtime in this process, a sandbox, two commands.
#include <iostream>

#include "common.hpp"

int main() {
  return example::run([] {
    auto runtime = sandbox::Runtime::open().value();
    sandbox::Sandbox box = runtime.create(example::spec()).value();

    // One string is a shell line; with args() nothing is interpreted.
    const auto shell = box.process().exec("echo hello from $(hostname), process $$").value();
    std::cout << shell.stdout_text();
    example::expect(shell.ok(), "the shell line to exit with 0");

    const auto python = box.process().exec(sandbox::Command("python3").args("-c", "print(6 * 7)")).value();
    std::cout << "python says " << python.stdout_text();
    example::expect(python.stdout_text() == "42\n", "42");

    // What it saw of this machine: its own processes only, and no network but loopback.
    std::cout << box.process().exec("ls -d /proc/[0-9]* | wc -l | xargs echo processes it can see:; "
                                    "tail -n +3 /proc/net/dev | cut -d: -f1 | xargs echo interfaces:").value().stdout_text();
    box.close().value();
  });
}
