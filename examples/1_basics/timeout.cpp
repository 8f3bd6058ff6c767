// How a program ended is data: timed out, signalled, cancelled, each with the output so far.
#include <chrono>
#include <iostream>

#include "common.hpp"

namespace {

void tell(const char* what, const sandbox::ExitStatus& status) {
  std::cout << what << ": " << sandbox::name(status.cause) << ", exit code " << status.exit_code << ", signal " << status.signal
            << ", " << std::chrono::duration_cast<std::chrono::milliseconds>(status.wall_time).count() << " ms\n";
}

}  // namespace

int main() {
  using namespace std::chrono_literals;
  return example::run([] {
    auto runtime = sandbox::Runtime::open().value();
    auto box = runtime.create(example::spec()).value();

    // It ignores SIGTERM and leaves children behind: the whole group is killed.
    const auto hung = box.process().exec(sandbox::Command("trap '' TERM; echo started; sleep 60 & sleep 60").timeout(1s)).value();
    tell("hung", hung);
    example::expect(hung.cause == sandbox::ExitCause::timed_out && hung.stdout_text() == "started\n", "timed_out with its output");

    const auto crashed = box.process().exec("kill -SEGV $$").value();
    tell("crashed", crashed);
    example::expect(crashed.cause == sandbox::ExitCause::signalled && crashed.signal == 11, "signal 11");

    auto running = box.process().spawn("sleep 60").value();
    running.kill().value();
    const auto cancelled = running.wait().value();
    tell("cancelled", cancelled);
    example::expect(cancelled.cause == sandbox::ExitCause::cancelled, "cancelled");

    // The sandbox goes on.
    const auto next = box.process().exec("echo still here").value();
    tell("next", next);
    example::expect(next.ok(), "the sandbox to work on");
  });
}
