#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <sandbox/bytes.hpp>

#include "protocol/messages.hpp"
#include "session/session.hpp"
#include "simulation/mutation.hpp"

/// What both ends did, kept apart from what they told each other: every check compares with it.
namespace sandbox::simulation {

/// What is to be done, however many attempts that takes.
struct Job {
  std::uint32_t number = 0;
  std::string key;            ///< idempotency key, or empty
  std::uint64_t in = 0;       ///< content the client sends
  std::uint64_t out[2] = {};  ///< content the agent sends on out and err
  unsigned up = 0, down = 0;  ///< messages to the agent, to the client
  bool reads_all = true;      ///< the agent ends only after the client's last byte
  bool stubborn = false;      ///< a cancel is answered late
  unsigned attempts = 0;
  unsigned runs = 0;  ///< how often it ran under its key
};

/// One stream of a job, as each end saw it.
struct Attempt {
  Job* job = nullptr;
  std::uint32_t number = 0;

  // The client's side.
  std::uint64_t in_sent = 0;
  bool in_fin_sent = false;
  std::uint64_t out_got[2] = {};
  bool fin_got[2] = {};
  unsigned up_sent = 0, down_got = 0;
  bool over = false;   ///< on_end, on_lost, or the client is gone
  bool ended = false;  ///< on_end
  bool cancelled = false, detached = false;

  // The agent's side.
  bool begun = false;
  std::uint64_t in_got = 0;
  bool in_fin_got = false;
  std::uint64_t out_sent[2] = {};
  bool fin_sent[2] = {};
  unsigned up_got = 0, down_sent = 0;
  std::optional<protocol::End> said;
};

/// The byte at `offset` of a channel of a job: tells its place, so that content shifted, doubled or mixed up is seen.
constexpr std::byte content(std::uint32_t job, unsigned channel, std::uint64_t offset) noexcept {
  const std::uint64_t x = offset * 167 + (offset >> 8) * 59 + (offset >> 16) * 31 + job * 101 + channel * 43;
  return static_cast<std::byte>(x ^ (x >> 8));
}
inline bool is_content(ByteView bytes, std::uint32_t job, unsigned channel, std::uint64_t offset) noexcept {
  for (const std::byte byte : bytes)
    if (byte != content(job, channel, offset++)) return false;
  return true;
}
inline std::string make_content(std::uint32_t job, unsigned channel, std::uint64_t offset, std::size_t count) {
  std::string text(count, '\0');
  for (char& c : text) c = static_cast<char>(content(job, channel, offset++));
  return text;
}
inline std::string message_text(std::uint32_t job, unsigned number) {
  return "message " + std::to_string(number) + " of " + std::to_string(job) + std::string(number % 5 * 20, '.');
}

/// How much of what a run of schedules contained.
struct Counters {
  std::uint64_t schedules = 0, steps = 0, streams = 0, ends = 0, losses = 0, bytes = 0, messages = 0, transports = 0,
                resumes = 0, renewals = 0, replaced = 0, cuts = 0, holes = 0, silences = 0, agent_crashes = 0,
                client_crashes = 0, forgotten = 0, cancels = 0, detaches = 0, replays = 0, sealed = 0, compressed = 0,
                applied = 0;
  void add(const Counters& other) noexcept;
  std::string to_string() const;
};

class Ledger {
 public:
  /// The first failure of the schedule; later ones follow from it.
  void fail(std::string what) {
    if (!failure_) failure_ = std::move(what);
  }
  void check(bool holds, std::string_view what, const Attempt& attempt) {
    if (!holds)
      fail(std::string(what) + " (job " + std::to_string(attempt.job->number) + ", attempt " +
           std::to_string(attempt.number) + ")");
  }
  const std::optional<std::string>& failure() const noexcept { return failure_; }

  std::deque<Job> jobs;
  std::deque<Attempt> attempts;
  std::map<std::uint64_t, std::uint64_t> pings;  ///< nonce: how often it was sent and not answered
  Counters counters;
  Mutation mutation = Mutation::none;
  bool forgets = false;  ///< the agent gave a session up, so that a client may come back to one that is not there

 private:
  std::optional<std::string> failure_;
};

}  // namespace sandbox::simulation
