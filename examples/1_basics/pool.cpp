// A warm pool: creating costs microseconds, because it was done before.
#include <chrono>
#include <iostream>

#include "common.hpp"

int main() {
  return example::run([] {
    const auto spec = example::spec();
    auto runtime = sandbox::Runtime::open(sandbox::RuntimeOptions().warm(4, spec)).value();
    runtime.wait_warm().value();

    const auto timed = [&](const char* what, sandbox::CreateOptions options) {
      const auto begin = std::chrono::steady_clock::now();
      auto box = runtime.create(spec, options).value();
      const auto took = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - begin);
      std::cout << what << " create: " << took.count() << " µs, then says "
                << box.process().exec("echo ready").value().stdout_text();
      box.close().value();  // dirty ones are destroyed, never reused
      return took;
    };
    const auto cold = timed("cold", sandbox::CreateOptions().cold());
    runtime.wait_warm().value();
    const auto warm = timed("warm", sandbox::CreateOptions());
    example::expect(warm < cold, "warm to be faster than cold");

    for (const auto& pool : runtime.pools()) {
      std::cout << "pool: " << pool.ready << " ready, " << pool.hits << " hits, " << pool.misses << " misses, refill "
                << std::chrono::duration_cast<std::chrono::microseconds>(pool.refill_time).count() << " µs\n";
    }
    example::expect(runtime.pools().size() == 1 && runtime.pools()[0].hits >= 1, "a hit");
    runtime.close().value();
  });
}
