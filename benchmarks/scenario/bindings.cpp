// What each language binding adds to the C++ call beneath it: in a process of its own, in turns with the same in this one.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <memory>
#include <spawn.h>
#include <stdexcept>
#include <sys/wait.h>
#include <unistd.h>

#include <sandbox/runtime.hpp>

#include "payload.hpp"
#include "scenario.hpp"

extern char** environ;

namespace bench {

namespace {

constexpr std::uint64_t kFile = 64 * kMiB;
/// MiB by which a binding's process may grow while it streams a file of 64.
constexpr double kGrowth = 48;

/// The bench program of a binding, which does what it is told and waits in between. See benchmarks/bindings/take-turns.
class Binding {
 public:
  explicit Binding(const std::string& name) : name_(name) {
    int in[2], out[2];
    if (::pipe2(in, O_CLOEXEC) != 0 || ::pipe2(out, O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, in[0], 0);
    ::posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    std::string program = SANDBOX_BENCH_BINDINGS, build = SANDBOX_BENCH_BUILD, which = name;
    char* argv[] = {program.data(), build.data(), which.data(), nullptr};
    const int error = ::posix_spawn(&pid_, program.c_str(), &actions, nullptr, argv, environ);
    ::posix_spawn_file_actions_destroy(&actions);
    ::close(in[0]);
    ::close(out[1]);
    to_.reset(::fdopen(in[1], "w"));
    from_.reset(::fdopen(out[0], "r"));
    if (error != 0) throw std::runtime_error("cannot start " + program);
    const std::string first = line();
    if (first.starts_with("skip ")) throw Skip(first.substr(5));
    if (first != "ready") throw std::runtime_error(name_ + " said: " + first);
  }
  Binding(const Binding&) = delete;
  ~Binding() {
    to_.reset();  // its signal to end
    if (pid_ > 0) ::waitpid(pid_, nullptr, 0);
  }

  double ask(const std::string& what) {
    std::fprintf(to_.get(), "%s\n", what.c_str());
    std::fflush(to_.get());
    const std::string answer = line();
    char* end = nullptr;
    const double value = std::strtod(answer.c_str(), &end);
    if (answer.empty() || *end != '\0') throw std::runtime_error(name_ + " answered " + what + " with: " + answer);
    return value;
  }

 private:
  std::string line() {
    std::string text;
    for (int byte; (byte = std::fgetc(from_.get())) != EOF && byte != '\n';) text += static_cast<char>(byte);
    if (text.empty()) throw std::runtime_error("the bench program of " + name_ + " ended");
    return text;
  }

  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  const std::string name_;
  pid_t pid_ = -1;
  std::unique_ptr<std::FILE, Close> to_, from_;
};

double env_get(sandbox::Sandbox& box, int count) {
  Samples times;
  auto env = box.env();
  for (int i = 0; i < count; ++i) times.add(timed([&] { env.get("HOME").value(); }), kMicrosecond);
  return times.p50();
}

double file_in(sandbox::Sandbox& box, const std::vector<std::byte>& piece) {
  return mib_per_s(kFile, timed([&] {
    auto writer = box.fs().open_writer("/root/file").value();
    for (std::uint64_t sent = 0; sent < kFile; sent += piece.size()) writer.write(piece).value();
    writer.finish().value();
  }));
}

double file_out(sandbox::Sandbox& box) {
  std::uint64_t size = 0;
  const auto took = timed([&] {
    auto reader = box.fs().open_reader("/root/file").value();
    for (auto piece = reader.read().value(); !piece.empty(); piece = reader.read().value()) size += piece.size();
  });
  if (size != kFile) throw std::runtime_error("read another size");
  return mib_per_s(kFile, took);
}

/// `bar`: microseconds that a call may cost more than in C++.
std::vector<Result> measure(Config& config, const std::string& name, double bar) {
  ::signal(SIGPIPE, SIG_IGN);
  auto runtime = sandbox::Runtime::open().value();
  auto box = runtime.create(roomy_spec()).value();
  Binding binding(name);

  constexpr int kCalls = 50;  // short: on a busy machine a process that has slept has a few milliseconds to itself
  Samples calls, calls_floor, more;
  for (int round = -5; round < config.rounds(400); ++round) {
    const double floor = env_get(box, kCalls);
    const double ours = binding.ask("env " + std::to_string(kCalls));
    if (round < 0) continue;
    calls.add(ours);
    calls_floor.add(floor);
    more.add(ours - floor);
  }
  const auto bytes = pattern();
  Samples in, out, in_floor, out_floor, write, read;
  const int rounds = config.quick ? 5 : 15;
  for (int round = -1; round < rounds; ++round) {
    const double floor_in = file_in(box, bytes), ours_in = binding.ask("in");
    const double floor_out = file_out(box), ours_out = binding.ask("out");
    if (round < 0) continue;
    in.add(ours_in);
    out.add(ours_out);
    in_floor.add(floor_in);
    out_floor.add(floor_out);
  }
  const double grown = binding.ask("memory");
  for (int round = 0; round < rounds; ++round) {
    write.add(binding.ask("write"));
    read.add(binding.ask("read"));
  }
  box.close().value();
  runtime.close().value();

  char text[200];
  auto call = summarise("binding_" + name, "µs", calls, calls_floor);
  call.overhead = more.p50();
  std::snprintf(text, sizeof text, "floor + %.0f", bar);
  call.bar = text;
  call.pass = *call.overhead <= bar;
  call.method = "medians of rounds of " + std::to_string(kCalls) + " env gets, one after the other, in turns with as many in C++ in this process";
  std::vector<Result> results{std::move(call)};
  for (const bool inwards : {true, false}) {
    auto result = summarise("binding_" + name + (inwards ? "_file_in" : "_file_out"), "MiB/s", inwards ? in : out, inwards ? in_floor : out_floor, true);
    result.bar = ">= 500, memory bounded";
    result.pass = result.p50 >= 500 && grown <= kGrowth;
    std::snprintf(text, sizeof text, "; the process grew by %.1f MiB", grown);
    result.method = std::string("64 MiB through a ") + (inwards ? "writer in pieces of 1 MiB" : "reader") +
                    ", in turns with the same in C++ in this process" + text;
    std::snprintf(text, sizeof text, "; in one call %.0f MiB/s", (inwards ? write : read).p50());
    result.method += text;
    results.push_back(std::move(result));
  }
  return results;
}

}  // namespace

std::vector<Result> binding_python_sync(Config& config) { return measure(config, "python_sync", 15); }
std::vector<Result> binding_asyncio(Config& config) { return measure(config, "asyncio", 60); }
std::vector<Result> binding_node(Config& config) { return measure(config, "node", 25); }
std::vector<Result> binding_go(Config& config) { return measure(config, "go", 5); }

}  // namespace bench
