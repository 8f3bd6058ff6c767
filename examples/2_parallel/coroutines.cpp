// The asynchronous forms: any Asio completion token; here coroutines on one thread of ours.
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <iostream>
#include <vector>

#include <sandbox/asio.hpp>

#include "common.hpp"

namespace asio = boost::asio;

namespace {

/// Runs one line in `box`. What a coroutine needs it owns: parameters by value, or things that outlive it.
asio::awaitable<bool> one(sandbox::Process process, int number) {
  std::string line = "sleep 0.5; echo " + std::to_string(number * number);
  const sandbox::Result<sandbox::ExecResult> result = co_await process.async_exec(sandbox::Command(std::move(line)), asio::use_awaitable);
  if (!result) {
    std::cerr << result.error().to_string() << "\n";
    co_return false;
  }
  co_return result->stdout_text() == std::to_string(number * number) + "\n";
}

asio::awaitable<void> create(sandbox::Runtime& runtime, sandbox::SandboxSpec spec, std::vector<sandbox::Sandbox>& boxes) {
  auto box = co_await runtime.async_create(std::move(spec), asio::use_awaitable);
  boxes.push_back(std::move(box).value());
}

}  // namespace

int main() {
  return example::run([] {
    auto runtime = sandbox::Runtime::open().value();
    asio::io_context io;
    std::vector<sandbox::Sandbox> boxes;
    int right = 0;
    const auto on_created = [](std::exception_ptr failure) {
      if (failure) std::rethrow_exception(failure);
    };
    for (int i = 0; i < 4; ++i) asio::co_spawn(io, create(runtime, example::spec(), boxes), on_created);
    io.run();
    io.restart();

    const auto begin = std::chrono::steady_clock::now();
    const auto on_done = [&](std::exception_ptr failure, bool good) {
      if (failure) std::rethrow_exception(failure);
      right += good ? 1 : 0;
    };
    for (int i = 0; i < 100; ++i) {
      asio::co_spawn(io, one(boxes[static_cast<std::size_t>(i) % boxes.size()].process(), i), on_done);
    }
    io.run();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    std::cout << right << " of 100 coroutines answered, on one thread, in " << took.count() << " s\n";
    example::expect(right == 100, "every coroutine to answer");
    example::expect(took < std::chrono::seconds(20), "them to run side by side");
  });
}
