// What creating, using for a moment, and destroying costs.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <limits>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <unistd.h>

#include <sandbox/runtime.hpp>

#include "aio/reactor.hpp"
#include "backends/native/native.hpp"
#include "link/link.hpp"

#include "floor.hpp"
#include "host_view.hpp"
#include "scenario.hpp"

namespace bench {

namespace {

sandbox::Command true_command() { return sandbox::Command::from_argv({"/usr/bin/true"}); }

void expect_ok(const sandbox::ExecResult& result) {
  if (!result.ok()) throw std::runtime_error("true ended with " + std::to_string(result.shell_code()));
}

/// Until nothing of the sandbox is left, at most five seconds.
Clock::time_point wait_clean(const Traces& traces) {
  const auto limit = Clock::now() + std::chrono::seconds(5);
  std::string left;
  while (!(left = traces.left()).empty()) {
    if (Clock::now() > limit) throw std::runtime_error("still there after 5 s: " + left);
  }
  return Clock::now();
}

pid_t new_agent(const std::set<pid_t>& before) {
  for (const pid_t pid : agents()) {
    if (!before.contains(pid)) return pid;
  }
  throw std::runtime_error("the new sandbox's process 1 was not found below this process");
}

}  // namespace

std::vector<Result> warm_create(Config& config) {
  const auto spec = base_spec();
  auto runtime = sandbox::Runtime::open(sandbox::RuntimeOptions().warm(8, spec)).value();
  Samples ours, floor;
  for (int round = -10; round < config.rounds(500); ++round) {
    runtime.wait_warm().value();
    pause_between_creations();
    const auto begin = Clock::now();
    auto box = runtime.create(spec).value();
    const auto took = Clock::now() - begin;
    box.ping().value();
    const auto ping = timed([&] { box.ping().value(); });
    box.close().value();
    if (round < 0) continue;
    ours.add(took, kMicrosecond);
    floor.add(ping, kMicrosecond);
  }
  std::uint64_t misses = 0;
  for (const auto& pool : runtime.pools()) misses += pool.misses;
  runtime.close().value();
  auto result = summarise("warm_create", "µs", ours, floor);
  result.bar = "p50 <= 30, p99 <= 250";
  result.pass = result.p50 <= 30 && result.p99 <= 250;
  result.method = "Runtime::create from a pool of 8, full before each round, 8 ms apart; pool misses " + std::to_string(misses) +
                  "; floor: one ping of the agent";
  return {result};
}

std::vector<Result> cold_create_exec(Config& config) {
  const auto spec = base_spec();
  auto runtime = sandbox::Runtime::open().value();
  Samples ours, create, floor;
  std::vector<Samples> peers(config.peers.size());
  for (int round = -5; round < config.rounds(150); ++round) {
    pause_between_creations();
    const auto begin = Clock::now();
    auto box = runtime.create(spec, sandbox::CreateOptions().cold()).value();
    const auto created = Clock::now();
    expect_ok(box.process().exec(true_command()).value());
    const auto done = Clock::now();
    box.close().value();
    pause_between_creations();
    const auto bare = timed([&] { BareBox::create(true).value().exec_true().value(); });
    if (round >= 0) {
      ours.add(done - begin, kMillisecond);
      create.add(created - begin, kMillisecond);
      floor.add(bare, kMillisecond);
    }
    for (std::size_t i = 0; i < config.peers.size(); ++i) {
      if (config.peers[i]->name() == "runc" && round % 10 != 0) continue;  // 40 ms each
      pause_between_creations();
      const auto theirs = timed([&] { config.peers[i]->run_true().value(); });
      if (round >= 0) peers[i].add(theirs, kMillisecond);
    }
  }
  runtime.close().value();
  auto result = summarise("cold_create_exec", "ms", ours, floor);
  result.bar = "p50 <= 4.2";
  result.pass = result.p50 <= 4.2;
  for (std::size_t i = 0; i < peers.size(); ++i) {
    const auto name = config.peers[i]->name();
    result.peers[name] = peers[i].p50();
    if (name != "bwrap") continue;
    result.bar += " and <= 0.7 x bwrap";
    result.pass = *result.pass && result.p50 <= 0.7 * peers[i].p50();
  }
  char text[64];
  std::snprintf(text, sizeof text, "%.2f", create.p50());
  result.method = "create (cold, all locks, own network namespace, verified; alone p50 " + std::string(text) +
                  ") + exec /usr/bin/true, destroy not counted; 8 ms apart; floor: bare namespaces and mounts without cgroup, seccomp, "
                  "masks, overlay, verification, static process 1, + true, destroy counted; peers: their whole run of true";
  return {result};
}

std::vector<Result> exec_true(Config& config) {
  auto runtime = sandbox::Runtime::open().value();
  auto box = runtime.create(base_spec()).value();
  Samples ours, floor;
  for (int round = -20; round < config.rounds(600); ++round) {
    const auto theirs = timed([&] {
      if (run_with_pipes({"/usr/bin/true"}).value() != 0) throw std::runtime_error("true failed on the host");
    });
    const auto begin = Clock::now();
    auto result = box.process().exec(true_command());
    const auto took = Clock::now() - begin;
    expect_ok(result.value());
    if (round < 0) continue;
    ours.add(took, kMillisecond);
    floor.add(theirs, kMillisecond);
  }
  box.close().value();
  runtime.close().value();
  auto result = summarise("exec_true", "ms", ours, floor);
  result.bar = "<= 1.25 x floor";
  result.pass = result.ratio <= 1.25;
  result.method = "Process::exec of /usr/bin/true, in turns with the floor: vfork+execve+wait4 of the same binary on the host, output "
                  "and error on pipes read to their end";
  return {result};
}

std::vector<Result> destroy(Config& config) {
  auto runtime = sandbox::Runtime::open().value();
  // The first sandbox of a kind makes each launcher mount the image trees, which stay.
  for (int i = 0; i < 4; ++i) runtime.create(base_spec(), sandbox::CreateOptions().cold()).value().close().value();
  Samples returns, clean, floor;
  for (int round = -5; round < config.rounds(150); ++round) {
    pause_between_creations();
    auto bare = BareBox::create(true).value();
    bare.exec_true().value();
    pause_between_creations();
    // After the pause the launchers have made ready what they keep ready, and the counts stand still.
    const auto counts = Traces::Counts::take();
    const auto before = agents();
    auto box = runtime.create(base_spec(), sandbox::CreateOptions().cold()).value();
    box.ping().value();
    const Traces traces(new_agent(before), counts);
    pause_between_creations();
    const auto begin = Clock::now();
    box.close().value();
    const auto returned = Clock::now();
    // A closed handle still holds the socket it spoke through.
    { const auto last = std::move(box); }
    const auto gone = wait_clean(traces);
    const auto theirs = timed([&] { bare.destroy(); });
    if (round < 0) continue;
    returns.add(returned - begin, kMillisecond);
    clean.add(gone - begin, kMillisecond);
    floor.add(theirs, kMillisecond);
  }
  runtime.close().value();
  auto first = summarise("destroy", "ms", returns, floor);
  first.bar = "p50 <= 0.6";
  first.pass = first.p50 <= 0.6;
  first.method = "Sandbox::close of an idle sandbox until it returns; floor: SIGKILL + waitid of a bare container, no cgroups to remove";
  auto second = summarise("destroy_clean", "ms", clean, floor);
  second.bar = "p50 <= 2";
  second.pass = second.p50 <= 2;
  second.method = "idle sandbox: from the call of close() until its processes and cgroup directories are gone and launchers hold no "
                  "more mounts and this process no more mounts and descriptors than before it was made (the closed handle destroyed), polled without pause; same floor";
  return {first, second};
}

std::vector<Result> destroy_clean_loaded(Config& config) {
  auto spec = base_spec();
  auto runtime = sandbox::Runtime::open().value();
  for (int i = 0; i < 4; ++i) runtime.create(spec, sandbox::CreateOptions().cold()).value().close().value();
  Samples clean, returns, none;
  for (int round = -1; round < config.rounds(20); ++round) {
    pause_between_creations();
    const auto counts = Traces::Counts::take();
    const auto before = agents();
    auto box = runtime.create(spec, sandbox::CreateOptions().cold()).value();
    expect_ok(box.process().exec("head -c 100M /dev/zero > /root/dirty").value());
    // In sessions of their own, so that they outlive the command that started them.
    expect_ok(box.process().exec("for i in $(seq 100); do setsid sleep 1000 >/dev/null 2>&1 & done").value());
    if (box.stats().value().pids < 100) throw std::runtime_error("the hundred processes did not start");
    const Traces traces(new_agent(before), counts);
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    const auto begin = Clock::now();
    box.close().value();
    const auto returned = Clock::now();
    // A closed handle still holds the socket it spoke through.
    { const auto last = std::move(box); }
    const auto gone = wait_clean(traces);
    if (round < 0) continue;
    returns.add(returned - begin, kMillisecond);
    clean.add(gone - begin, kMillisecond);
  }
  runtime.close().value();
  auto result = summarise("destroy_clean_loaded", "ms", clean, none);
  result.bar = "p50 <= 50";
  result.pass = result.p50 <= 50;
  char text[64];
  std::snprintf(text, sizeof text, "%.1f", returns.p50());
  result.method = "as destroy_clean, with 100 sleeping processes and 100 MiB in /root; close() itself returned after p50 " + std::string(text) + " ms; no floor";
  return {result};
}

namespace {

struct Rate {
  double per_second = 0, slowest_second = 0;
  std::uint64_t failed = 0;
  std::string first_error;
};

/// `step` again and again on two threads for `time`.
template <class Step>
Rate sustained(std::chrono::milliseconds time, Step&& step) {
  const auto begin = Clock::now();
  const auto seconds = static_cast<std::size_t>(time / std::chrono::seconds(1));
  std::vector<std::atomic<std::uint64_t>> done(seconds + 1);
  std::atomic<std::uint64_t> failed{0};
  std::mutex mutex;
  Rate rate;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 2; ++i) {
      threads.emplace_back([&] {
        while (Clock::now() - begin < time) {
          if (sandbox::Result<void> one = step(); one) {
            const auto second = static_cast<std::size_t>((Clock::now() - begin) / std::chrono::seconds(1));
            ++done[std::min(second, seconds)];
          } else {
            ++failed;
            const std::scoped_lock lock(mutex);
            if (rate.first_error.empty()) rate.first_error = one.error().to_string();
          }
        }
      });
    }
  }
  const double took = std::chrono::duration<double>(Clock::now() - begin).count();
  std::uint64_t sum = 0, slowest = UINT64_MAX;
  for (std::size_t i = 0; i < done.size(); ++i) {
    sum += done[i];
    if (i < seconds) slowest = std::min<std::uint64_t>(slowest, done[i]);
  }
  rate.per_second = static_cast<double>(sum) / took;
  rate.slowest_second = static_cast<double>(slowest);
  rate.failed = failed;
  return rate;
}

sandbox::Result<void> bare_life(bool network) {
  SANDBOX_TRY(auto box, BareBox::create(network));
  box.destroy();
  return {};
}

Result rate_result(const char* name, const Rate& ours, const Rate& floor, double bar) {
  Result result;
  result.scenario = name;
  result.unit = "1/s";
  result.p50 = ours.per_second;
  result.p99 = ours.slowest_second;
  result.floor = floor.per_second;
  result.ratio = ours.per_second / floor.per_second;
  result.bar = ">= " + std::to_string(static_cast<int>(bar)) + ", none failed";
  result.pass = ours.per_second >= bar && ours.failed == 0;
  result.method = "create (cold) + ping + close by 2 threads; p99 is the slowest second; failed " + std::to_string(ours.failed) +
                  (ours.first_error.empty() ? "" : " (" + ours.first_error + ")") +
                  "; floor: bare containers by 2 threads, right before and after";
  return result;
}

}  // namespace

std::vector<Result> creates_per_s(Config& config) {
  const auto time = config.sustained();
  const auto floor_time = std::chrono::seconds(config.quick ? 1 : 5);
  const auto spec = base_spec();
  auto runtime = sandbox::Runtime::open(sandbox::RuntimeOptions().launchers(2)).value();
  const auto one = [&]() -> sandbox::Result<void> {
    SANDBOX_TRY(auto box, runtime.create(spec, sandbox::CreateOptions().cold()));
    SANDBOX_TRY(const auto ping, box.ping());
    (void)ping;
    return box.close();
  };
  sustained(std::chrono::seconds(1), one);
  Rate before = sustained(floor_time, [] { return bare_life(true); });
  const Rate ours = sustained(time, one);
  const Rate after = sustained(floor_time, [] { return bare_life(true); });
  before.per_second = (before.per_second + after.per_second) / 2;
  runtime.close().value();
  auto result = rate_result("creates_per_s", ours, before, 400);
  result.samples = static_cast<std::size_t>(ours.per_second * static_cast<double>(time.count()));
  return {result};
}

std::vector<Result> creates_per_s_no_net(Config& config) {
  // Below Runtime, because no spec leads to a sandbox in the host's network.
  sandbox::native::NativeOptions options;
  options.launchers = 2;
  options.benchmark_without_network_namespace = true;
  auto backend = sandbox::native::make_backend(options);
  sandbox::aio::Reactor reactor;
  sandbox::backend::ResolvedImage image;
  image.host_userland = true;
  const auto recipe = backend->prepare(base_spec(), image).value();
  const auto one = [&]() -> sandbox::Result<void> {
    const auto deadline = sandbox::core::SteadyClock::now() + std::chrono::seconds(10);
    SANDBOX_TRY(const auto box, recipe->create(deadline));
    const auto link = sandbox::link::Link::make(sandbox::link::socket_stream(box->take_stream()), {}, reactor);
    SANDBOX_TRY(const auto hello, link->handshake(deadline));
    if (!hello.facts) return sandbox::Error(sandbox::ErrorCode::protocol, "no facts");
    SANDBOX_CHECK(box->verify(*hello.facts));
    SANDBOX_TRY(const auto ping, link->ping(deadline));
    (void)ping;
    link->close(sandbox::Error(sandbox::ErrorCode::cancelled, "done"));
    return box->destroy();
  };
  const auto floor_time = std::chrono::seconds(config.quick ? 1 : 5);
  sustained(std::chrono::seconds(1), one);
  Rate before = sustained(floor_time, [] { return bare_life(false); });
  const Rate ours = sustained(config.sustained(), one);
  const Rate after = sustained(floor_time, [] { return bare_life(false); });
  before.per_second = (before.per_second + after.per_second) / 2;
  backend->close().value();
  reactor.stop();
  auto result = rate_result("creates_per_s_no_net", ours, before, 600);
  result.samples = static_cast<std::size_t>(ours.per_second * static_cast<double>(config.sustained().count()));
  result.method += "; on the backend itself with benchmark_without_network_namespace, all other locks on and verified";
  return {result};
}

std::vector<Result> template_create(Config& config) {
  auto runtime = sandbox::Runtime::open().value();
  const auto plain = base_spec();
  std::string id;
  {
    auto box = runtime.create(plain).value();
    expect_ok(box.process().exec("mkdir -p /root/tree && for i in $(seq 200); do echo $i > /root/tree/$i; done; head -c 4M /dev/urandom > /root/blob").value());
    id = box.save_template("bench").value().id;
    box.close().value();
  }
  auto from_template = base_spec();
  from_template.image(sandbox::Image::from_template(id));
  Samples ours, floor;
  for (int round = -5; round < config.rounds(100); ++round) {
    pause_between_creations();
    const auto begin = Clock::now();
    auto box = runtime.create(from_template, sandbox::CreateOptions().cold()).value();
    const auto took = Clock::now() - begin;
    if (round < 0 && !box.fs().exists("/root/tree/200").value()) throw std::runtime_error("the template's files are not there");
    box.close().value();
    pause_between_creations();
    const auto plain_begin = Clock::now();
    auto other = runtime.create(plain, sandbox::CreateOptions().cold()).value();
    const auto plain_took = Clock::now() - plain_begin;
    other.close().value();
    if (round < 0) continue;
    ours.add(took, kMillisecond);
    floor.add(plain_took, kMillisecond);
  }
  runtime.remove_template(id).value();
  runtime.close().value();
  auto result = summarise("template_create", "ms", ours, floor);
  result.bar = "<= 1.25 x a cold create";
  result.pass = result.ratio <= 1.25;
  result.method = "cold create from a template of 200 small files and one of 4 MiB; floor: our own cold create without template, in turns";
  return {result};
}

}  // namespace bench
