// Abuse that the host has to live with, and the end of a sandbox under fire.
#include <pwd.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <set>
#include <thread>

#include "lab/ledger.hpp"
#include "prove/catalogue.hpp"

namespace sandbox::prove {

using namespace std::chrono_literals;
using namespace sandbox::literals;

namespace {

using Clock = std::chrono::steady_clock;

/// Processes that descend from us and have `word` in their name.
int running(const std::string& word) {
  int count = 0;
  for (const auto& [pid, name] : lab::descendants(::getpid()))
    if (name.find(word) != name.npos && name.find("(zombie)") == name.npos) ++count;
  return count;
}

/// Looks until `condition` holds, at most ten seconds. The pace of looking: a pass over /proc.
template <class Condition>
bool eventually(Condition&& condition) {
  const auto patience = Clock::now() + 10s;
  while (!condition())
    if (Clock::now() >= patience)
      return false;
    else
      std::this_thread::yield();
  return true;
}

/// The user as whom a process runs, seen from here; -1 when it is gone.
long host_uid(int pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("Uid:")) return std::strtol(line.c_str() + 4, nullptr, 10);
  return -1;
}

}  // namespace

void check_host_ids(Stage& stage, CheckResult& result) {
  std::vector<Sandbox> boxes;
  std::vector<RunningProcess> processes;
  std::set<long> users;
  std::set<int> known;
  for (const auto& [pid, name] : lab::descendants(::getpid())) known.insert(pid);
  for (int i = 0; i < 2; ++i) {
    auto box = stage.make(stage.spec());
    if (!is_fine(result, box, "create")) return;
    auto process = box->process().spawn(Command("/root/sandbox-probe").args("wait"));
    if (!is_fine(result, process, "spawn")) return;
    boxes.push_back(*std::move(box));
    processes.push_back(*std::move(process));
    long uid = -1;
    eventually([&] {
      for (const auto& [pid, name] : lab::descendants(::getpid()))
        if (!known.contains(pid) && name.starts_with("sandbox-probe")) known.insert(pid), uid = host_uid(pid);
      return uid >= 0;
    });
    if (uid < 0) return fail(result, "the process inside is not seen from here");
    if (uid == 0) return fail(result, "the process inside is the host's root");
    if (::geteuid() == 0 && ::getpwuid(static_cast<uid_t>(uid)) != nullptr)
      return fail(result, "the process inside is user " + std::to_string(uid) + " of this host");
    users.insert(uid);
  }
  if (::geteuid() == 0 && users.size() != 2) return fail(result, "two sandboxes are the same user " + std::to_string(*users.begin()));
  pass(result, users.size() == 2 ? "users " + std::to_string(*users.begin()) + " and " + std::to_string(*users.rbegin())
                                 : "user " + std::to_string(*users.begin()) + ", who made them: without root there is no other");
}

void check_output_flood(Stage& stage, CheckResult& result) {
  auto box = stage.make(stage.spec());
  if (!is_fine(result, box, "create")) return;
  const std::uint64_t before = own_memory();
  const auto flood = box->process().exec(Command("head -c 268435456 /dev/zero").max_output(64_KiB).timeout(60s));
  if (!is_fine(result, flood, "exec")) return;
  const std::uint64_t after = own_memory(), grown = after > before ? after - before : 0;
  if (flood->stdout_bytes != 268435456 || flood->stdout_dropped != 268435456 - 65536)
    return fail(result, "counted " + std::to_string(flood->stdout_bytes) + " bytes, dropped " + std::to_string(flood->stdout_dropped));
  if (grown > 16u << 20) return fail(result, "this process grew by " + std::to_string(grown >> 20) + " MiB");
  // Output that nobody reads at all: the program waits, everybody else goes on.
  auto unread = box->process().spawn(Command("head -c 1G /dev/zero"));
  if (!is_fine(result, unread, "spawn")) return;
  for (int i = 0; i < 5; ++i)
    if (!is_fine(result, box->ping(5s), "ping beside unread output")) return;
  unread->kill().ignore("its sandbox ends now");
  pass(result, "256 MiB dropped and counted, this process grew by " + std::to_string(grown >> 10) + " KiB");
}

void check_stopped(Stage& stage, CheckResult& result) {
  auto box = stage.make(stage.spec());
  if (!is_fine(result, box, "create")) return;
  const auto stopped = box->process().exec(Command("kill -STOP $$").timeout(300ms));
  if (!is_fine(result, stopped, "exec")) return;
  if (stopped->cause != ExitCause::timed_out) return fail(result, "a stopped program ended as " + std::string(name(stopped->cause)));
  const auto deaf = box->process().exec(Command("/root/sandbox-probe").args("busy", "3").timeout(300ms));
  if (!is_fine(result, deaf, "exec")) return;
  if (deaf->cause != ExitCause::timed_out) return fail(result, "a deaf program ended as " + std::string(name(deaf->cause)));
  if (!is_fine(result, box->ping(5s), "ping")) return;
  pass(result, "both were killed when their time was over, with their group");
}

void check_orphans(Stage& stage, CheckResult& result) {
  auto box = stage.make(stage.spec());
  if (!is_fine(result, box, "create")) return;
  const auto made = box->process().exec(
      "i=0; while [ $i -lt 20 ]; do (setsid sh -c 'true' &); i=$((i+1)); done; (setsid sleep 1000 >/dev/null 2>&1 </dev/null &)");
  if (!is_fine(result, made, "exec")) return;
  std::string zombies = "?";
  for (int i = 0; i < 50 && zombies != "0\n"; ++i) {
    const auto seen = box->process().exec("cat /proc/[0-9]*/stat 2>/dev/null | grep -c ') Z '");
    if (!is_fine(result, seen, "exec")) return;
    zombies = seen->stdout_text();
  }
  if (zombies != "0\n") return fail(result, "zombies stay: " + zombies);
  if (!eventually([] { return running("sleep") > 0; })) return fail(result, "the daemonised child is not there to begin with");
  if (!is_fine(result, box->close(), "close")) return;
  // Dead when close() returns; a zombie, whom nobody has reaped yet, does not count.
  if (const int left = running("sleep"); left != 0)
    return fail(result, std::to_string(left) + " daemonised children outlive their sandbox");
  pass(result, "twenty orphans reaped; a daemonised child died with its sandbox");
}

void check_under_fire(Stage& stage, CheckResult& result) {
  auto box = stage.make(stage.spec());
  if (!is_fine(result, box, "create")) return;
  auto busy = box->process().spawn(Command("/root/sandbox-probe").args("busy", "120"));
  if (!is_fine(result, busy, "spawn")) return;
  int seen = 0;
  if (!eventually([&] { return (seen = running("sandbox-probe")) >= 120; }))
    return fail(result, "only " + std::to_string(seen) + " of 120 processes began");
  const auto start = Clock::now();
  if (!is_fine(result, box->close(), "close")) return;
  const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - start);
  if (const int left = running("sandbox-probe"); left != 0) return fail(result, std::to_string(left) + " processes outlive close()");
  if (took > 10s) return fail(result, "close() took " + std::to_string(took.count()) + " ms");
  pass(result, "120 processes gone in " + std::to_string(took.count()) + " ms");
}

void check_terminal(Stage& stage, CheckResult& result) {
  auto box = stage.make(stage.spec());
  if (!is_fine(result, box, "create")) return;
  auto process = box->process().spawn(Command("/root/sandbox-probe").args("try", "tiocsti", "tioclinux").pty(TerminalSize{}));
  if (!is_fine(result, process, "spawn")) return;
  std::string text;
  for (;;) {
    auto chunk = process->read_for(10s);
    if (!is_fine(result, chunk, "read")) return;
    if (!*chunk) break;
    for (const char c : (*chunk)->text())
      if (c != '\r') text += c;
  }
  const Answers answers = parse_answers(text);
  for (const char* id : {"tiocsti", "tioclinux"}) {
    const auto found = answers.find(id);
    const Answer answer = found == answers.end() ? Answer{"", "the probe said nothing"} : found->second;
    result.attempts.push_back({id, answer.verdict, answer.detail, "not_run", "it would type into the terminal of whoever runs this"});
    if (answer.verdict != "blocked") return fail(result, answer.detail);
  }
  pass(result, result.attempts.front().detail + "; " + result.attempts.back().detail);
}

}  // namespace sandbox::prove
