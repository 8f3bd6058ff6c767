// Output while it runs, and a conversation over standard input.
#include <chrono>
#include <iostream>

#include "common.hpp"

int main() {
  return example::run([] {
    auto runtime = sandbox::Runtime::open().value();
    auto box = runtime.create(example::spec()).value();
    const auto begin = std::chrono::steady_clock::now();
    const auto elapsed = [&] {
      return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin).count();
    };

    // Each line arrives when it is written, not when the program ends.
    auto counter = box.process().spawn("for i in 1 2 3; do echo tick $i; sleep 0.2; done; echo done >&2").value();
    long long first = -1, last = 0;
    while (auto chunk = counter.read().value()) {
      last = elapsed();
      if (first < 0) first = last;
      std::cout << "after " << last << " ms: " << chunk->text() << std::flush;
    }
    example::expect(counter.wait().value().ok(), "exit code 0");
    example::expect(last - first >= 100, "the first tick long before the last");

    // bc-like conversation: write a line, read the answer, go on.
    auto python = box.process().spawn(sandbox::Command("python3").args("-u", "-c",
        "import sys\nfor line in sys.stdin: print(sum(map(int, line.split())))").open_stdin()).value();
    for (const char* line : {"1 2 3\n", "40 2\n"}) {
      python.write(std::string_view(line)).value();
      // A chunk is what arrived, not a line: read on until there is one.
      std::string answer;
      while (!answer.ends_with('\n')) {
        const auto chunk = python.read().value();
        example::expect(chunk.has_value(), "an answer");
        answer += chunk->text();
      }
      std::cout << line << "  = " << answer;
    }
    python.close_stdin().value();
    example::expect(python.wait().value().ok(), "the end of input to end it");
  });
}
