#include "simulation/world.hpp"

#include <algorithm>
#include <list>
#include <memory>
#include <ostream>

#include "protocol/frame.hpp"
#include "simulation/agent_end.hpp"
#include "simulation/client_end.hpp"
#include "simulation/memory.hpp"
#include "simulation/task.hpp"

namespace sandbox::simulation {
namespace {

using namespace std::chrono_literals;

/// Calm rounds without a byte, message or end delivered after which a schedule counts as stuck. A transport that died
/// unheard is noticed after four heartbeats of at most a second, ten rounds each.
constexpr int kPatience = 150;
constexpr unsigned kMaxAttempts = 4;

/// One schedule.
class World {
 public:
  World(const Settings& settings, agent::Loop& loop)
      : settings_(settings), random_(settings.seed), memory_before_(live_bytes()), loop_(loop) {
    ledger_.mutation = settings.mutation;
    ledger_.counters.schedules = 1;
  }
  ~World() {
    client_.reset();
    agent_.reset();
    make_tasks_for(nullptr);
  }

  void play() {
    make_plan();
    for (unsigned step = 0; step < steps_ && !ledger_.failure(); ++step) {
      chaos();
      ++ledger_.counters.steps;
      check_memory();
    }
    if (!ledger_.failure()) calm();
    if (!ledger_.failure()) take_down();
  }

  Outcome outcome() const { return {ledger_.failure(), ledger_.counters, fingerprint_, most_memory_}; }

 private:
  template <class... Parts>
  void note(std::string_view what, Parts... numbers) {
    // The clock of the wall and the keys of a seal are all that may differ between two runs of a seed: neither is here.
    const auto mix = [this](std::uint64_t value) { fingerprint_ = (fingerprint_ ^ value) * 0x100000001b3; };
    for (const char c : what) mix(static_cast<unsigned char>(c));
    (mix(numbers), ...);
    if (!settings_.trace) return;
    *settings_.trace << ledger_.counters.steps << ": " << what;
    ((*settings_.trace << ' ' << numbers), ...);
    *settings_.trace << '\n';
  }

  void make_plan();
  void make_client();
  void chaos();
  void client_step(bool all);
  void agent_step(bool all);
  void connect();
  void cut();
  void fault();
  bool calm_round();
  void calm();
  void take_down();
  bool unfinished() const;
  void retry();
  void sweep();
  void check_memory() {
    const std::size_t now = live_bytes() - memory_before_;
    most_memory_ = std::max(most_memory_, now);
    if (now > kMaxMemory) ledger_.fail("the ends hold more than " + std::to_string(kMaxMemory) + " bytes");
  }
  std::uint64_t delivered() const {
    const Counters& c = ledger_.counters;
    return c.bytes + c.messages + c.ends + c.losses;  // to connect again and again is no progress
  }

  const Settings& settings_;
  Random random_;
  const std::size_t memory_before_;
  agent::Loop& loop_;
  Ledger ledger_;
  std::list<std::unique_ptr<Wire>> wires_;
  std::unique_ptr<AgentEnd> agent_;
  std::unique_ptr<ClientEnd> client_;
  session::Options client_options_;
  ClientEnd::Policy client_policy_;
  core::TimePoint now_{1000h};
  unsigned steps_ = 0, faults_left_ = 0;
  unsigned fault_rate_ = 0;
  std::size_t capacity_ = 0;
  bool agent_gone_ = false, client_stays_ = false;
  std::string lost_bytes_;  ///< of the last cut, for late_bytes
  std::uint64_t fingerprint_ = 0xcbf29ce484222325;
  std::size_t most_memory_ = 0;
};

void World::make_plan() {
  client_policy_.reconnects = random_.chance(850);
  client_policy_.sealed = random_.chance(80);
  client_policy_.window = random_.chance(300) ? 5s : 30s;
  ledger_.counters.sealed = client_policy_.sealed;
  const bool compress = random_.chance(60);
  ledger_.counters.compressed = compress;
  // Mostly small numbers: limits are where mistakes are.
  const auto window = [&] { return random_.chance(700) ? random_.between(1, 3000) : random_.between(3000, 1 << 20); };
  session::Options& options = client_options_;
  options.software = "simulation";
  options.window = window();
  options.max_frame = random_.chance(500) ? protocol::kMinMaxFrame : 1 << 20;
  options.max_data =
      static_cast<std::uint32_t>(random_.chance(600) ? random_.between(1, 2000) : random_.between(2000, 128 << 10));
  options.send_queue = random_.chance(600) ? random_.between(1, 4000) : 256 << 10;
  options.resumable = client_policy_.reconnects;
  options.hold_until_ready = client_policy_.reconnects && random_.chance(900);
  options.max_unacknowledged = 256 << 10;
  options.compress = compress;
  if (random_.chance(500)) options.heartbeat = std::chrono::milliseconds(random_.between(200, 1000));

  AgentEnd::Policy policy;
  policy.table = random_.chance(400);
  policy.keep = random_.chance(800) ? core::Duration(1h) : core::Duration(1);
  // What a client that never comes back leaves running holds its key until its session's time is over, which it never
  // is here.
  client_stays_ = policy.table && policy.keep >= 1h;
  if (client_stays_) options.hold_until_ready = options.resumable;
  policy.options = options;
  policy.options.heartbeat = {};
  policy.options.hold_until_ready = false;
  policy.options.window = window();
  policy.options.max_data = static_cast<std::uint32_t>(random_.chance(600) ? random_.between(1, 2000) : 128 << 10);
  policy.options.send_queue = random_.chance(600) ? random_.between(1, 4000) : 256 << 10;
  policy.options.compress = compress && random_.chance(800);
  agent_ = std::make_unique<AgentEnd>(random_, ledger_, loop_, policy);
  make_tasks_for(agent_.get());

  const unsigned jobs = static_cast<unsigned>(random_.between(1, 5));
  // Many small pieces cost as much as many bytes: as much content as the narrower window lets through in some rounds.
  const std::uint64_t narrow =
      std::min({options.window, policy.options.window, std::uint64_t{options.max_data}, options.send_queue,
                std::uint64_t{policy.options.max_data}, policy.options.send_queue});
  // At least what an agent says to a client whose session it does not know, as in a stream's window.
  capacity_ = random_.chance(500) ? random_.between(400, 3000) : 128 << 10;
  const std::uint64_t most = std::min<std::uint64_t>(std::min<std::uint64_t>(narrow, capacity_) * 30,
                                                     random_.chance(30) ? 700 << 10 : 12 << 10);
  for (unsigned i = 1; i <= jobs; ++i) {
    Job& job = ledger_.jobs.emplace_back();
    job.number = i;
    job.in = random_.below(most);
    job.out[0] = random_.below(most);
    job.out[1] = random_.chance(500) ? 0 : random_.below(most);
    job.up = static_cast<unsigned>(random_.chance(500) ? 0 : random_.below(5));
    job.down = static_cast<unsigned>(random_.chance(500) ? 0 : random_.below(6));
    job.reads_all = random_.chance(800);
    job.stubborn = random_.chance(300);
    if (random_.chance(400)) {
      job.key = "key " + std::to_string(i);
      for (std::uint64_t& size : job.out) size = std::min<std::uint64_t>(size, 30 << 10);  // a replay brings it whole
    }
  }
  steps_ = static_cast<unsigned>(random_.between(20, 220));
  faults_left_ = static_cast<unsigned>(random_.below(8));
  fault_rate_ = static_cast<unsigned>(random_.between(10, 80));
  note("plan", jobs, steps_, faults_left_, capacity_, options.window, policy.options.window, client_policy_.sealed,
       client_policy_.reconnects, policy.table, compress);
  make_client();
}

void World::make_client() {
  ledger_.pings.clear();
  client_ = std::make_unique<ClientEnd>(random_, ledger_, client_options_, client_policy_, now_);
}

/// A job whose attempt was lost is tried again, as a caller would: with its key it runs once nevertheless.
void World::retry() {
  if (client_->failed()) return;
  for (Job& job : ledger_.jobs) {
    if (job.attempts == 0 || job.attempts >= kMaxAttempts) continue;
    bool wanted = true;
    for (const Attempt& attempt : ledger_.attempts)
      if (attempt.job == &job && (!attempt.over || attempt.ended || attempt.detached || attempt.cancelled))
        wanted = false;
    if (wanted && (job.key.empty() ? random_.chance(300) : true)) client_->open(job);
  }
}

void World::connect() {
  if (agent_gone_) {
    client_->refused(true, now_);
    return note("dial: nobody there");
  }
  auto wire = std::make_unique<Wire>(random_, ledger_, capacity_, !client_policy_.sealed);
  wire->number = static_cast<std::uint32_t>(ledger_.counters.transports + 1);
  if (settings_.mutation == Mutation::late_bytes && ledger_.counters.applied == 0 && !lost_bytes_.empty()) {
    ++ledger_.counters.applied;
    wire->to_client.insert(std::exchange(lost_bytes_, {}));
  }
  note("connect", wire->number);
  agent_->accept(*wire);
  client_->install(*wire);
  wires_.push_back(std::move(wire));
}

void World::cut() {
  Wire* wire = client_->wire();
  if (!wire || wire->hole) return;
  ++ledger_.counters.cuts;
  const std::size_t up = random_.below(wire->to_agent.under_way().size() + 1),
                    down = random_.below(wire->to_client.under_way().size() + 1);
  lost_bytes_ = as_text(wire->to_client.under_way().subspan(down));
  wire->to_agent.end(up);
  wire->to_client.end(down);
  note("cut", wire->number, up, down);
}

void World::fault() {
  --faults_left_;
  Wire* wire = client_->wire();
  switch (random_.below(client_stays_ ? 10 : 12)) {
    default: return cut();
    case 7:
      if (!wire || client_options_.heartbeat == core::Duration::zero()) return cut();
      wire->hole = true;
      ++ledger_.counters.holes;
      return note("hole", wire->number);
    case 8:
      if (agent_ && agent_->forget()) note("forget");
      return;
    case 9:
      if (agent_gone_ || !random_.chance(300)) return;
      note("agent dies");
      ++ledger_.counters.agent_crashes;
      agent_gone_ = true;
      agent_.reset();
      make_tasks_for(nullptr);
      return;
    case 10:
      note("client dies");
      ++ledger_.counters.client_crashes;
      cut();
      client_.reset();
      return make_client();
    case 11:
      note("client closes");
      client_->close();
      return make_client();
  }
}

void World::client_step(bool all) {
  auto& calls = client_->calls();
  if (calls.empty()) return;
  if (!all) {
    Call& call = *calls[random_.below(calls.size())];
    if (random_.chance(15))
      call.cancel();
    else if (random_.chance(10))
      call.detach();
    else
      call.work(random_, false);
    return;
  }
  for (std::size_t i = 0; i < calls.size(); ++i) calls[i]->work(random_, true);
}

void World::agent_step(bool all) {
  if (!agent_) return;
  auto& tasks = agent_->tasks;
  if (tasks.empty()) return;
  if (!all) {
    tasks[random_.below(tasks.size())]->work(random_, false);
    return;
  }
  for (std::size_t i = 0; i < tasks.size(); ++i) tasks[i]->work(random_, true);
}

void World::sweep() {
  std::erase_if(wires_, [this](const auto& wire) { return wire->client_left && (wire->agent_left || agent_gone_); });
}

void World::chaos() {
  if (faults_left_ > 0 && random_.chance(fault_rate_)) {
    fault();
    return sweep();
  }
  Wire* wire = client_->wire();
  switch (random_.below(16)) {
    case 0: {
      // A job's first attempt.
      for (Job& job : ledger_.jobs) {
        if (job.attempts > 0) continue;
        note("open", job.number);
        client_->open(job);
        break;
      }
      break;
    }
    case 1: retry(); break;
    case 2:
    case 3: client_step(false); break;
    case 4:
    case 5: agent_step(false); break;
    case 6:
    case 7: note("client sends", client_->pump(random_.between(1, 4))); break;
    case 8:
    case 9:
      if (agent_) agent_->turn();
      break;
    case 10:
    case 11:
      if (agent_) note("agent hears", agent_->arrive(false));
      break;
    case 12:
    case 13:
      if (wire) note("client hears", client_->arrive(random_.size(wire->to_client.under_way().size())));
      break;
    case 14:
      if (client_->wants_transport()) {
        if (random_.chance(800))
          connect();
        else
          client_->refused(false, now_), note("dial fails");
      } else if (random_.chance(300)) {
        client_->ping();
      }
      break;
    case 15:
      now_ += std::chrono::milliseconds(random_.below(random_.chance(100) ? 3000 : 150));
      if (client_->tick(now_)) note("tick");
      break;
  }
  note("state", ledger_.counters.bytes, ledger_.counters.ends, ledger_.counters.losses,
       wire ? wire->to_agent.under_way().size() : 0, wire ? wire->to_client.under_way().size() : 0);
  sweep();
}

bool World::unfinished() const {
  for (const Attempt& attempt : ledger_.attempts)
    if (!attempt.over) return true;
  return false;
}

/// The network lets everything through, both ends do all they can, time passes slowly.
bool World::calm_round() {
  const std::uint64_t before = delivered();
  if (client_->wants_transport()) connect();
  client_step(true);
  // Several exchanges, so that a narrow wire is no slow one.
  bool moved = true;
  for (int i = 0; i < 12 && moved; ++i) {
    moved = client_->pump(64);
    if (agent_) {
      moved = agent_->arrive(true) || moved;
      if (i == 0) agent_step(true);
      agent_->turn();
    }
    if (const Wire* wire = client_->wire()) moved = client_->arrive(wire->to_client.under_way().size()) || moved;
  }
  now_ += 100ms;
  client_->tick(now_);
  sweep();
  check_memory();
  const Wire* wire = client_->wire();
  note("round", ledger_.counters.bytes, ledger_.counters.ends, wire ? wire->to_agent.under_way().size() : 0,
       wire ? wire->to_client.under_way().size() : 0, client_->session().online(), agent_ ? agent_->tasks.size() : 0);
  return delivered() != before;
}

void World::calm() {
  note("calm");
  if (!client_->failed())
    for (Job& job : ledger_.jobs)
      if (job.attempts == 0) client_->open(job);
  retry();
  int idle = 0;
  while (unfinished() && !ledger_.failure()) {
    ++ledger_.counters.steps;
    idle = calm_round() ? 0 : idle + 1;
    // In the end the agent hears of a wire that nobody holds; then the time of whoever did not come back is over.
    if (idle == kPatience / 4)
      for (const auto& wire : wires_) wire->hole = wire->hole && !wire->client_left;
    if (idle == kPatience / 2)
      while (agent_ && agent_->forget()) note("forget");
    if (idle > kPatience) return ledger_.fail("nothing moves any more although the network lets everything through");
  }
  note("all over", ledger_.counters.steps, ledger_.counters.bytes);
}

void World::take_down() {
  client_->close();
  if (!agent_) return;
  for (const auto& wire : wires_) {
    wire->hole = false;
    wire->to_agent.end(wire->to_agent.under_way().size());
  }
  for (int i = 0; i < 20; ++i) {
    agent_->turn();
    agent_->arrive(true);
  }
  while (agent_->forget()) {
  }
  agent_->turn();
  agent_->turn();
  // A session that waits for an hour does so when its client's goodbye was lost with the wire.
  if (!client_stays_ && (!agent_->tasks.empty() || agent_->sessions() > 0))
    ledger_.fail("sessions outlive their client");
  for (const Attempt& attempt : ledger_.attempts) ledger_.check(attempt.over, "a stream did not end", attempt);
}

}  // namespace

Outcome run(const Settings& settings, agent::Loop& loop) {
  const std::size_t before = live_bytes();
  Outcome outcome;
  {
    World world(settings, loop);
    world.play();
    outcome = world.outcome();
  }
  loop.turn(core::Duration::zero());
  const std::size_t left = live_bytes() - before - (outcome.failure ? outcome.failure->capacity() + 64 : 0);
  // The loop keeps its tables' memory; more than that would grow with every schedule.
  if (!outcome.failure && left > 64 << 10 && live_bytes() > before)
    outcome.failure = std::to_string(left) + " bytes are left behind";
  return outcome;
}

}  // namespace sandbox::simulation
