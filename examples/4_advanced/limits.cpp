// Programs that take everything they can get: each ends with its true cause, and the neighbour does not notice.
#include <chrono>
#include <iostream>

#include "common.hpp"

int main() {
  using namespace sandbox::literals;
  return example::run([] {
    auto runtime = sandbox::Runtime::open().value();
    auto spec = example::spec();
    spec.limits(sandbox::Limits().memory(96_MiB).disk(16_MiB).pids(32));
    auto box = runtime.create(spec).value();
    auto neighbour = runtime.create(example::spec()).value();
    const bool enforced = box.unenforced().empty();
    for (const auto& line : box.unenforced()) std::cout << "not enforced here: " << line << "\n";

    if (enforced) {
      const auto memory = box.process().exec(sandbox::Command("python3").args("-c", "x = bytearray(600 << 20)")).value();
      std::cout << "memory: " << sandbox::name(memory.cause) << ", OOM kills: " << memory.oom_kills << "\n";
      example::expect(memory.cause == sandbox::ExitCause::out_of_memory, "out_of_memory");

      const auto forks = box.process().exec("for i in $(seq 100); do sleep 5 & done; wait").value();
      std::cout << "processes: exit code " << forks.exit_code << ", " << forks.stderr_text().substr(0, forks.stderr_text().find('\n')) << "\n";
      example::expect(!forks.ok(), "the shell to run out of processes");
    }
    const auto disk = box.process().exec("head -c 64M /dev/zero > /root/big").value();
    std::cout << "disk: " << disk.stderr_text();
    example::expect(!disk.ok(), "the disk to be full");
    example::expect(box.fs().stat("/root/big").value().size <= 16u << 20, "no more than the quota");

    const auto begin = std::chrono::steady_clock::now();
    example::expect(neighbour.process().exec("true").value().ok(), "the neighbour to work");
    std::cout << "neighbour's round trip: "
              << std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - begin).count() << " µs\n";
    const auto stats = box.stats().value();
    std::cout << "used: " << stats.memory.bytes() / 1024 << " KiB memory (peak " << stats.memory_peak.bytes() / 1024 << "), "
              << stats.disk_used.bytes() / 1024 << " KiB disk, " << stats.pids << " processes\n";
  });
}
