#include <algorithm>

#include "simulation/agent_end.hpp"
#include "simulation/task.hpp"

namespace sandbox::simulation {
namespace {

using agent::ExecRecord;
using session::Channel;

/// The agent that makes operations now. A factory is a plain function and gets nothing else.
AgentEnd* current = nullptr;

/// What a run of `job` answers: nobody could guess it.
std::uint32_t answer(const Job& job) { return job.number * 2654435761u ^ 0x5eed; }

class Run final : public Task {
 public:
  Run(agent::Context context, AgentEnd& end, Attempt& attempt, std::shared_ptr<ExecRecord> record)
      : Task(context, end, attempt), record_(std::move(record)) {
    if (!record_) return;
    ++attempt.job->runs;
    check(attempt.job->runs == 1, "it ran twice under one key");
  }
  ~Run() override { abandon(); }

  void on_message(ByteView message) override {
    check(!ended(), "a message after the end");
    check(as_text(message) == message_text(attempt_.job->number, attempt_.up_got),
          "a message to the agent was lost, doubled or changed");
    check(++attempt_.up_got <= attempt_.up_sent, "the agent has a message that nobody sent");
    ++end_.ledger().counters.messages;
  }
  void on_data(Channel channel, ByteView data, bool fin) override {
    check(!ended(), "content after the end");
    check(channel == Channel::in && !attempt_.in_fin_got, "content of another channel, or after its end");
    check(is_content(data, attempt_.job->number, 0, attempt_.in_got),
          "content to the agent was lost, doubled or changed");
    attempt_.in_got += data.size();
    end_.ledger().counters.bytes += data.size();
    check(attempt_.in_got <= attempt_.in_sent, "the agent has content that nobody sent");
    if (fin) {
      attempt_.in_fin_got = true;
      check(attempt_.in_fin_sent && attempt_.in_got == attempt_.in_sent, "an end of content that nobody sent");
    }
    owed_ += data.size();
  }
  void on_cancel() override {
    check(attempt_.cancelled, "a cancel that nobody asked for");
    cancelled_ = true;
    if (!attempt_.job->stubborn) stop();
  }
  void on_drained() override { check(std::exchange(full_, false), "on_drained() that was not asked for"); }
  void on_lost(const Error& error) override {
    error.ignore("the run ends with its session");
    abandon();
  }

  bool work(Random& random, bool all) override {
    if (ended()) return false;
    const Job& job = *attempt_.job;
    if (cancelled_ && (all || random.chance(300))) return stop(), true;
    bool done = false;
    if (owed_ > 0 && (all || random.chance(500))) {
      const std::uint64_t back = all ? owed_ : random.size(owed_);
      owed_ -= back;
      context().session.consumed(context().stream, Channel::in, back);
      done = true;
    }
    if (attempt_.down_sent < job.down && (all || random.chance(400))) {
      if (context().session.can_message(context().stream)) {
        context().session.send_message(context().stream, message_text(job.number, attempt_.down_sent++)).value();
        done = true;
      } else {
        full_ = true;
      }
    }
    for (const unsigned i : {0u, 1u})
      if (all || random.chance(600))
        done = produce(i, all ? 64 << 10 : random.size(64 << 10), job.number % 2 == 0) || done;
    keep();
    if (attempt_.out_sent[0] < job.out[0] || attempt_.out_sent[1] < job.out[1] || attempt_.down_sent < job.down)
      return done;
    if (job.reads_all && (!attempt_.in_fin_got || attempt_.up_got < job.up)) return done;
    if (end_.ledger().mutation == Mutation::never_end) return ++end_.ledger().counters.applied, done;
    outcome(protocol::ExitCause::exited);
    return true;
  }

 private:
  void stop() { outcome(protocol::ExitCause::cancelled); }
  void outcome(protocol::ExitCause cause) {
    protocol::ExecOutcome made;
    made.cause = cause;
    made.exit_code = answer(*attempt_.job);
    made.out_total = attempt_.out_sent[0];
    made.err_total = attempt_.out_sent[1];
    if (record_) std::exchange(record_, nullptr)->finish(made, context().loop.now());
    finish(made);
  }
  void abandon() {
    if (!record_) return;
    protocol::ExecOutcome made;
    made.cause = protocol::ExitCause::cancelled;
    std::exchange(record_, nullptr)->finish(made, context().loop.now());
  }
  /// For replays, see ExecRecord.
  void keep() {
    if (!record_) return;
    for (const unsigned i : {0u, 1u}) {
      std::string& kept = i == 0 ? record_->out : record_->err;
      if (kept.size() < attempt_.out_sent[i])
        kept += make_content(attempt_.job->number, i + 1, kept.size(), attempt_.out_sent[i] - kept.size());
    }
  }

  std::shared_ptr<ExecRecord> record_;
  std::uint64_t owed_ = 0;
  bool cancelled_ = false, full_ = false;
};

/// A later attempt under a key that is known: waits for the run and says what it said.
class Replay final : public Task, ExecRecord::Follower {
 public:
  Replay(agent::Context context, AgentEnd& end, Attempt& attempt, std::shared_ptr<ExecRecord> record)
      : Task(context, end, attempt), record_(std::move(record)) {
    ++end.ledger().counters.replays;
    if (!record_->finished) record_->followers.push_back(this);
  }
  ~Replay() override { std::erase(record_->followers, static_cast<ExecRecord::Follower*>(this)); }
  void on_recorded() override {}
  void on_data(Channel channel, ByteView data, bool) override {
    context().session.consumed(context().stream, channel, data.size());
  }
  void on_cancel() override {
    protocol::ExecOutcome made;
    made.cause = protocol::ExitCause::cancelled;
    finish(made);
  }

  bool work(Random& random, bool all) override {
    if (ended() || !record_->finished) return false;
    bool done = false;
    for (const unsigned i : {0u, 1u}) {
      const std::string& kept = i == 0 ? record_->out : record_->err;
      const std::size_t left = kept.size() - attempt_.out_sent[i];
      if (left == 0) continue;
      const std::string_view part = std::string_view(kept).substr(attempt_.out_sent[i], all ? left : random.size(left));
      const std::size_t taken =
          context().session.send(context().stream, i == 0 ? Channel::out : Channel::err, as_bytes(part));
      attempt_.out_sent[i] += taken;
      refused_[i] = taken < part.size();
      done = done || taken > 0;
    }
    if (attempt_.out_sent[0] < record_->out.size() || attempt_.out_sent[1] < record_->err.size()) return done;
    finish(record_->outcome);
    return true;
  }

 private:
  std::shared_ptr<ExecRecord> record_;
};

Result<std::unique_ptr<agent::Operation>> make_task(agent::Context context, ByteView params, std::string_view key) {
  if (!current) return Error(ErrorCode::internal, "no agent of a simulation");
  AgentEnd& end = *current;
  Attempt* attempt = end.attempt(as_text(params));
  if (!attempt) {
    end.ledger().fail("the agent was asked for something that nobody wants: " + std::string(as_text(params)));
    return Error(ErrorCode::invalid_argument, "unknown attempt");
  }
  end.ledger().check(!std::exchange(attempt->begun, true), "one stream was opened twice", *attempt);
  end.ledger().check(key == attempt->job->key, "another key than the client's", *attempt);
  std::shared_ptr<ExecRecord> record;
  if (!key.empty()) {
    record = end.execs().find(key);
    if (record && end.ledger().mutation == Mutation::run_twice) {
      ++end.ledger().counters.applied;
    } else if (record) {
      return std::unique_ptr<agent::Operation>(std::make_unique<Replay>(context, end, *attempt, std::move(record)));
    } else {
      record = end.execs().add(key, 1);
    }
  }
  return std::unique_ptr<agent::Operation>(std::make_unique<Run>(context, end, *attempt, std::move(record)));
}

}  // namespace

void make_tasks_for(AgentEnd* end) noexcept { current = end; }

Task::Task(agent::Context context, AgentEnd& end, Attempt& attempt) : Operation(context), end_(end), attempt_(attempt) {
  end_.tasks.push_back(this);
}
Task::~Task() { std::erase(end_.tasks, this); }

void Task::check(bool holds, std::string_view what) { end_.ledger().check(holds, what, attempt_); }

void Task::conclude(protocol::End end) {
  check(!attempt_.said, "an operation ended twice");
  attempt_.said = end;
  Operation::conclude(std::move(end));
}

bool Task::produce(unsigned channel, std::size_t most, bool fin_at_end) {
  const std::uint64_t left = attempt_.job->out[channel] - attempt_.out_sent[channel];
  if (left == 0 && (!fin_at_end || attempt_.fin_sent[channel])) return false;
  const auto side = channel == 0 ? session::Channel::out : session::Channel::err;
  // A little more than it takes, so that it often has to refuse some.
  const std::size_t room = context().session.writable(context().stream, side) + 20;
  const std::string text = make_content(attempt_.job->number, channel + 1, attempt_.out_sent[channel],
                                        static_cast<std::size_t>(std::min<std::uint64_t>({left, most, room})));
  const bool fin = fin_at_end && text.size() == left;
  const std::size_t taken = context().session.send(context().stream, side, as_bytes(std::string_view(text)), fin);
  attempt_.out_sent[channel] += taken;
  refused_[channel] = taken < text.size();
  if (fin && !refused_[channel]) attempt_.fin_sent[channel] = true;
  return taken > 0 || (fin && attempt_.fin_sent[channel]);
}

}  // namespace sandbox::simulation

namespace sandbox::agent {

OperationFactory process_operation(protocol::Method method) noexcept {
  return method == protocol::Method::exec ? &simulation::make_task : nullptr;
}
OperationFactory file_operation(protocol::Method) noexcept { return nullptr; }

}  // namespace sandbox::agent
