#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "agent/loop.hpp"
#include "protocol/messages.hpp"

/// Idempotent execs: what ran, or runs, under which key.
namespace sandbox::agent {

/// One exec under a key. Its operation fills it in; later operations with the same key wait for it.
struct ExecRecord {
  /// Output kept for replays, per channel. Bytes beyond it count as dropped in a replayed outcome.
  static constexpr std::size_t kMaxKept = 64 << 10;

  /// An operation that waits for the end of another.
  class Follower {
   public:
    virtual ~Follower() = default;
    virtual void on_recorded() = 0;
  };

  std::string key;
  std::size_t request_hash = 0;       ///< a key stands for one request
  bool finished = false;
  core::TimePoint finished_at{};
  std::uint32_t pid = 0;
  std::string out, err;               ///< first kMaxKept bytes forwarded on each channel
  std::uint64_t out_forwarded = 0, err_forwarded = 0;
  protocol::ExecOutcome outcome;      ///< valid when finished
  std::vector<Follower*> followers;

  /// The outcome is known: tells the followers.
  void finish(const protocol::ExecOutcome& result, core::TimePoint now);
};

/// Bounded: 256 finished records, ten minutes each, 2 MiB of kept output together. Running ones are never dropped.
class ExecTable {
 public:
  static constexpr std::size_t kMaxKey = 64;
  static constexpr std::size_t kMaxFinished = 256;
  static constexpr std::size_t kMaxKeptBytes = 2 << 20;
  static constexpr core::Duration kLifetime = std::chrono::minutes(10);

  explicit ExecTable(Loop& loop) : loop_(loop) {}

  /// The record of `key`, or null.
  std::shared_ptr<ExecRecord> find(std::string_view key);
  /// A new record for `key`; there must be none.
  std::shared_ptr<ExecRecord> add(std::string_view key, std::size_t request_hash);
  /// Nothing ran: the key is free again.
  void remove(const std::string& key);
  std::size_t size() const noexcept { return records_.size(); }

 private:
  void expire();

  Loop& loop_;
  std::list<std::shared_ptr<ExecRecord>> records_;   ///< oldest first
  std::unordered_map<std::string, std::list<std::shared_ptr<ExecRecord>>::iterator> by_key_;
};

}  // namespace sandbox::agent
