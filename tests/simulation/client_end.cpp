#include "simulation/client_end.hpp"

#include <algorithm>
#include <utility>

namespace sandbox::simulation {

ClientEnd::ClientEnd(Random& random, Ledger& ledger, session::Options options, Policy policy, core::TimePoint now)
    : random_(random), ledger_(ledger), options_(std::move(options)), policy_(policy), now_(now),
      session_(session::Role::client, options_, *this), give_up_at_(now + policy.window) {}

ClientEnd::~ClientEnd() {
  if (error_) error_->ignore("the client is gone");
  for (auto& call : calls_) call->attempt().over = true;
  leave_wire();
}

void ClientEnd::leave_wire() {
  if (!wire_) return;
  wire_->client_left = true;
  wire_->to_agent.end(wire_->to_agent.under_way().size());
  wire_ = nullptr;
}

void ClientEnd::fail(const Error& why) {
  if (error_) return;
  error_ = why;
  error_->ignore("every stream is told");
  session_.fail(why);
  if (!down_) pump(~std::size_t{0});
  leave_wire();
}

void ClientEnd::lose(const Error& why) {
  if (error_ || down_) return;
  if (!policy_.reconnects) return fail(why);
  why.ignore("another transport takes its place");
  give_up_at_ = now_ + policy_.window;
  session_.disconnected();
  down_ = true;
  leave_wire();
}

void ClientEnd::renew(const Error& why) {
  const auto first = session_.last_stream() + 1;
  const Error lost = Error(ErrorCode::unavailable, "the agent lost the session").with_retry(Retry::now).with_cause(why);
  lost.ignore("told to every stream");
  session_.fail(lost);
  lose(lost);
  session::Options fresh = options_;
  fresh.first_stream = first;
  session_ = session::Session(session::Role::client, std::move(fresh), *this);
  begun_ = false;
  ++ledger_.counters.renewals;
}

void ClientEnd::install(Wire& wire) {
  wire_ = &wire;
  down_ = false;
  ++ledger_.counters.transports;
  if (policy_.sealed) {
    auto channel = crypto::SecureChannel::client({.pin = seen_, .key = std::nullopt, .context = {}});
    if (!channel) return ledger_.fail("no sealed channel: " + channel.error().to_string());
    endpoint_.emplace(session_, *std::move(channel));
  } else {
    endpoint_.emplace(session_);
  }
  if (!std::exchange(begun_, true)) return;
  if (auto resumed = session_.resume(); !resumed) {
    // A session that never came to be ready and holds nothing back has nothing to resume.
    fail(resumed.error());
    return;
  }
  ++ledger_.counters.resumes;
}

void ClientEnd::refused(bool gone, core::TimePoint now) {
  now_ = now;
  if (gone) fail(Error(ErrorCode::unavailable, "the sandbox has ended"));
  else if (now >= give_up_at_) fail(Error(ErrorCode::unavailable, "the connection was lost and did not come back"));
}

bool ClientEnd::pump(std::size_t rounds) {
  bool done = false;
  while (!down_ && wire_ && rounds-- > 0) {
    const ByteView bytes = endpoint_->output();
    if (bytes.empty()) break;
    const std::size_t taken = wire_->to_agent.put(bytes);
    if (taken == 0) break;
    endpoint_->sent(taken);
    done = true;
  }
  return done;
}

bool ClientEnd::arrive(std::size_t count) {
  if (down_ || !wire_ || wire_->hole) return false;
  if (wire_->to_client.at_end()) {
    if (endpoint_->channel()) endpoint_->finish().ignore("a cut looks the same to us");
    lose(Error(ErrorCode::unavailable, "the transport ended"));
    return true;
  }
  const std::string bytes = wire_->to_client.take(count);
  if (bytes.empty()) return false;
  const bool resuming = policy_.reconnects && session_.ready() && !session_.online();
  if (auto fed = endpoint_->receive(as_bytes(std::string_view(bytes))); !fed) {
    const ErrorCode code = fed.error().code();
    if (code != ErrorCode::unavailable && !(resuming && code == ErrorCode::protocol && ledger_.forgets))
      ledger_.fail("the client finds the agent's words broken: " + fed.error().to_string());
    if (policy_.reconnects && (code == ErrorCode::unavailable || (resuming && code == ErrorCode::protocol))) renew(fed.error());
    else fail(fed.error());
    return true;
  }
  if (!seen_ && endpoint_->channel() && endpoint_->channel()->established()) seen_ = endpoint_->channel()->fingerprint();
  return true;
}

bool ClientEnd::tick(core::TimePoint now) {
  now_ = now;
  if (down_ || error_ || now < session_.next_tick()) return false;
  session_.tick(now);
  if (session_.failed()) {
    ++silences_, ++ledger_.counters.silences;
    fail(Error(ErrorCode::unavailable, "the agent stopped answering"));
  } else if (session_.silent()) {
    ++silences_, ++ledger_.counters.silences;
    lose(Error(ErrorCode::unavailable, "the connection is silent"));
  }
  return true;
}

void ClientEnd::ping() {
  if (!session_.online()) return;
  ++ledger_.pings[next_nonce_];
  session_.ping(next_nonce_++);
}

void ClientEnd::on_pong(std::uint64_t nonce) {
  const auto sent = ledger_.pings.find(nonce);
  if (sent == ledger_.pings.end() || sent->second == 0) return ledger_.fail("an answer to a ping that was not sent");
  --sent->second;
}

void ClientEnd::open(Job& job) {
  ++job.attempts;
  Attempt& attempt = ledger_.attempts.emplace_back();
  attempt.job = &job;
  attempt.number = static_cast<std::uint32_t>(ledger_.attempts.size());
  calls_.push_back(std::make_unique<Call>(*this, attempt));
  ++ledger_.counters.streams;
  calls_.back()->opened(
      session_.open(protocol::Method::exec, std::to_string(attempt.number), calls_.back().get(), job.key));
}

void ClientEnd::close() {
  if (error_) return;
  fail(Error(ErrorCode::cancelled, "the client is done"));
}

}  // namespace sandbox::simulation
