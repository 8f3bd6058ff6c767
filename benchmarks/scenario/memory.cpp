// What an idle warm sandbox holds of the host's memory.
#include <cstdio>
#include <limits>
#include <set>
#include <stdexcept>
#include <unistd.h>

#include <sandbox/runtime.hpp>

#include "host_view.hpp"
#include "scenario.hpp"

namespace bench {

namespace {

/// Kernel objects of the whole machine and private pages of our own processes, in KiB. Not AnonPages: a compiler beside
/// us would be the larger part of it.
double accounted_kib(const std::set<pid_t>& pids) {
  double sum = 0;
  for (const char* key : {"Slab", "KernelStack", "PageTables", "Percpu", "Shmem"}) sum += meminfo_kib(key);
  for (const pid_t pid : pids) sum += private_kib(pid);
  for (const pid_t pid : launchers()) sum += private_kib(pid);
  return sum + private_kib(::getpid());
}

}  // namespace

std::vector<Result> idle_memory(Config& config) {
  const auto spec = base_spec();
  const std::uint32_t count = config.quick ? 40 : 200;
  Samples pss, private_part, available, accounted, none, alone;
  {
    auto runtime = sandbox::Runtime::open(sandbox::RuntimeOptions().warm(1, spec).launchers(1)).value();
    runtime.wait_warm().value();
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    for (const pid_t pid : agents()) alone.add(pss_kib(pid));
    runtime.close().value();
  }
  const int rounds = config.quick ? 3 : 7;
  for (int round = -1; round < rounds; ++round) {
    auto runtime = sandbox::Runtime::open(sandbox::RuntimeOptions().max_warm(count + 8).warm(1, spec)).value();
    runtime.wait_warm().value();
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    const auto base = agents();
    const double available_before = meminfo_kib("MemAvailable"), accounted_before = accounted_kib(base);
    runtime.set_warm(spec, count + 1).value();
    runtime.wait_warm(std::chrono::seconds(60)).value();
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    const auto pids = agents();
    const double made = static_cast<double>(pids.size()) - static_cast<double>(base.size());
    const double available_after = meminfo_kib("MemAvailable"), accounted_after = accounted_kib(pids);
    if (made < count) throw std::runtime_error("found " + std::to_string(pids.size()) + " agents instead of " + std::to_string(count));
    if (round >= 0) {
      available.add((available_before - available_after) / made);
      accounted.add((accounted_after - accounted_before) / made);
      for (const pid_t pid : pids) {
        const double value = pss_kib(pid);
        if (value < 0) throw std::runtime_error("smaps_rollup of an agent is not readable");
        pss.add(value);
        private_part.add(private_kib(pid));
      }
    }
    runtime.close().value();
  }
  const auto number = [](double value) {
    char text[32];
    std::snprintf(text, sizeof text, "%.0f KiB", value);
    return std::string(text);
  };
  auto first = summarise("idle_memory", "KiB", pss, none);
  first.bar = "p50 <= 192";
  first.pass = first.p50 <= 192;
  first.method = "Pss in smaps_rollup of the agents of " + std::to_string(count + 1) + " warm sandboxes; private part p50 " + number(private_part.p50()) +
                 "; Pss of a single one alone " + number(alone.p50()) + "; no floor";
  // Both look at the whole machine, so others move them. Whichever says more decides, and one that says less than the
  // agents' private pages, which nobody else can move, has measured somebody else: no figure then.
  const double least = private_part.p50();
  const bool usable[] = {available.p50() >= least, accounted.p50() >= least};
  const std::string both = "drop of MemAvailable " + number(available.p50()) + ", growth of Slab+KernelStack+PageTables+Percpu+Shmem of the "
                           "machine and private pages of agents, launchers and this process " + number(accounted.p50());
  if (!usable[0] && !usable[1]) throw std::runtime_error("the machine is too restless: " + both + ", agents' private pages " + number(least));
  auto second = summarise("idle_memory_total", "KiB", usable[0] && (!usable[1] || available.p50() > accounted.p50()) ? available : accounted, none);
  second.bar = "p50 <= 640 by the larger of two methods";
  second.pass = second.p50 <= 640;
  second.method = "over " + std::to_string(count) + " more warm sandboxes, divided by their number, launcher's and pool's share included, median of " +
                  std::to_string(rounds) + " rounds after an unmeasured one; " + both +
                  (usable[0] && usable[1] ? "" : "; the one below the agents' private pages (" + number(least) + ") was left out");
  return {first, second};
}

}  // namespace bench
