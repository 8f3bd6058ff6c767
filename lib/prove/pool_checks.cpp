// Sandboxes from a pool: each is new.
#include <algorithm>
#include <chrono>
#include <sstream>

#include "prove/catalogue.hpp"

namespace sandbox::prove {

using namespace std::chrono_literals;

namespace {

const std::vector<std::string> kMarks = {"mark_files", "mark_ipc", "mark_socket", "mark_processes", "mark_env"};

/// Empties the pool at the end: what it holds must not be counted against the checks that follow.
class Warm {
 public:
  Warm(Stage& stage, SandboxSpec spec, std::uint32_t count) : stage_(stage), spec_(std::move(spec)) {
    set_ = stage_.runtime().set_warm(spec_, count);
  }
  ~Warm() { stage_.runtime().set_warm(spec_, 0).ignore("the runtime ends soon"); }
  Warm(const Warm&) = delete;
  const Result<void>& set() const { return set_; }
  std::uint64_t hits() const {
    std::uint64_t hits = 0;
    for (const PoolStats& pool : stage_.runtime().pools()) hits += pool.hits;
    return hits;
  }

 private:
  Stage& stage_;
  const SandboxSpec spec_;
  Result<void> set_;
};

}  // namespace

void check_hygiene(Stage& stage, CheckResult& result) {
  const SandboxSpec spec = stage.spec();
  Warm warm(stage, spec, 2);
  if (!is_fine(result, warm.set(), "set_warm") || !is_fine(result, stage.runtime().wait_warm(20s), "wait_warm")) return;
  const std::uint64_t hits = warm.hits();
  auto first = stage.runtime().create(spec);
  if (!is_fine(result, first, "create") || !is_fine(result, stage.equip(*first), "probe")) return;
  if (!is_fine(result, first->env().set("SANDBOX_MARK", "1"), "env")) return;
  const auto marked = first->process().exec(Command("/root/sandbox-probe").args("mark").timeout(10s));
  if (!is_fine(result, marked, "mark")) return;
  Answers dirty = stage.ask(*first, kMarks);
  const std::string id = first->id();
  if (!is_fine(result, first->close(), "close") || !is_fine(result, stage.runtime().wait_warm(20s), "wait_warm")) return;
  // As many as the pool held, so that one that came back would be among them.
  std::string wrong;
  for (int tenant = 0; tenant < 3; ++tenant) {
    auto next = stage.runtime().create(spec);
    if (!is_fine(result, next, "create") || !is_fine(result, stage.equip(*next), "probe")) return;
    if (next->id() == id) wrong += "the same sandbox again; ";
    Answers clean = stage.ask(*next, kMarks);
    for (const std::string& word : kMarks) {
      if (dirty[word].verdict != "open") wrong += "the look does not work: " + word + " " + dirty[word].detail + "; ";
      if (clean[word].verdict != "blocked") wrong += word + ": " + clean[word].detail + "; ";
      if (tenant == 0)
        result.attempts.push_back({word, clean[word].verdict, clean[word].detail, dirty[word].verdict == "open" ? "bites" : "not_run",
                                   "in the earlier tenant's sandbox: " + dirty[word].detail});
    }
  }
  const std::uint64_t from_pool = warm.hits() - hits;
  if (from_pool < 2) wrong += "only " + std::to_string(from_pool) + " came from the pool; ";
  if (!wrong.empty()) return fail(result, wrong);
  std::istringstream left(std::string(marked->stdout_text()));
  pass(result, "an earlier tenant left traces of " + std::to_string(kMarks.size()) + " kinds; " + std::to_string(from_pool) +
                   " sandboxes from the pool, none shows any");
}

void check_users(Stage& stage, CheckResult& result) {
  const SandboxSpec hers = stage.spec().user("prove-first"), his = stage.spec().user("prove-second");
  Warm warm(stage, hers, 1);
  if (!is_fine(result, warm.set(), "set_warm") || !is_fine(result, stage.runtime().wait_warm(20s), "wait_warm")) return;
  const std::uint64_t hits = warm.hits();
  auto box = stage.runtime().create(his);
  if (!is_fine(result, box, "create")) return;
  if (warm.hits() != hits) return fail(result, "a sandbox warmed for one user went to another");
  auto own = stage.runtime().create(hers);
  if (!is_fine(result, own, "create")) return;
  if (warm.hits() != hits + 1) return fail(result, "the pool was not used at all");
  pass(result, "another user got a new one, the user herself the warm one");
}

}  // namespace sandbox::prove
