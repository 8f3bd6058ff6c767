// A hundred commands at once: operations on one sandbox, and on several, do not wait for each other.
#include <atomic>
#include <chrono>
#include <iostream>
#include <thread>
#include <vector>

#include "common.hpp"

int main() {
  return example::run([] {
    auto runtime = sandbox::Runtime::open().value();
    std::vector<sandbox::Sandbox> boxes;
    for (int i = 0; i < 4; ++i) boxes.push_back(runtime.create(example::spec()).value());

    constexpr int kCommands = 100;
    std::atomic<int> right{0};
    const auto begin = std::chrono::steady_clock::now();
    {
      std::vector<std::jthread> threads;
      for (int i = 0; i < kCommands; ++i) {
        threads.emplace_back([&, i] {
          // One second of sleep each: a hundred in sequence would take 100 s.
          auto result = boxes[static_cast<std::size_t>(i) % boxes.size()].process().exec("sleep 1; echo " + std::to_string(i));
          if (result && result->stdout_text() == std::to_string(i) + "\n") ++right;
          else if (!result) std::cerr << result.error().to_string() << "\n";
        });
      }
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    std::cout << right << " of " << kCommands << " commands of 1 s each, in 4 sandboxes, in " << took.count() << " s\n";
    example::expect(right == kCommands, "every command to answer");
    example::expect(took < std::chrono::seconds(20), "them to run side by side");
  });
}
