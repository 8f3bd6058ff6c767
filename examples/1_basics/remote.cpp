// The same code on sandboxes of this process and of a daemon. Runtime and Client have the same members where they mean the
// same, and a Sandbox is a Sandbox; only where it comes from differs.
//
//   remote                            in this process
//   remote unix:///path/to/d.sock     of that daemon (or http://…, https://…)
#include <chrono>
#include <iostream>

#include <sandbox/client.hpp>

#include "common.hpp"

namespace {

double ms_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

template <class Where>
void use(Where& where) {
  where.wait_warm().value();
  auto start = std::chrono::steady_clock::now();
  sandbox::Sandbox box = where.create(example::spec()).value();
  const double create = ms_since(start);

  start = std::chrono::steady_clock::now();
  const auto result = box.process().exec("echo hello from $(hostname)").value();
  const double exec = ms_since(start);
  std::cout << result.stdout_text();
  example::expect(result.ok(), "the command to exit with 0");

  start = std::chrono::steady_clock::now();
  const std::string megabyte(1 << 20, 'x');
  box.fs().write("/root/file", megabyte).value();
  example::expect(box.fs().read_text("/root/file").value() == megabyte, "the file as it was written");
  const double file = ms_since(start);

  start = std::chrono::steady_clock::now();
  box.close().value();
  std::printf("create %.3f ms, exec %.3f ms, 1 MiB in and out %.3f ms, close %.3f ms\n", create, exec, file, ms_since(start));
}

}  // namespace

int main(int argc, char** argv) {
  return example::run([&] {
    if (argc > 1) {
      auto client = sandbox::Client::connect(argv[1]).value();
      use(client);
    } else {
      auto runtime = sandbox::Runtime::open(sandbox::RuntimeOptions().warm(1, example::spec())).value();
      use(runtime);
    }
  });
}
