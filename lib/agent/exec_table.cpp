#include "agent/exec_table.hpp"

#include <utility>

namespace sandbox::agent {

void ExecRecord::finish(const protocol::ExecOutcome& result, core::TimePoint now) {
  finished = true;
  finished_at = now;
  outcome = result;
  for (Follower* follower : std::exchange(followers, {})) follower->on_recorded();
}

std::shared_ptr<ExecRecord> ExecTable::find(std::string_view key) {
  expire();
  const auto found = by_key_.find(std::string(key));
  return found == by_key_.end() ? nullptr : *found->second;
}

std::shared_ptr<ExecRecord> ExecTable::add(std::string_view key, std::size_t request_hash) {
  auto record = std::make_shared<ExecRecord>();
  record->key = key;
  record->request_hash = request_hash;
  by_key_[record->key] = records_.insert(records_.end(), record);
  return record;
}

void ExecTable::remove(const std::string& key) {
  const auto found = by_key_.find(key);
  if (found == by_key_.end()) return;
  records_.erase(found->second);
  by_key_.erase(found);
}

void ExecTable::expire() {
  std::size_t finished = 0, kept = 0;
  // Newest first, so that the bounds hit the oldest.
  for (auto at = records_.end(); at != records_.begin();) {
    --at;
    const ExecRecord& record = **at;
    if (!record.finished) continue;
    ++finished;
    kept += record.out.size() + record.err.size();
    if (finished <= kMaxFinished && kept <= kMaxKeptBytes && loop_.now() - record.finished_at < kLifetime) continue;
    by_key_.erase(record.key);
    at = records_.erase(at);
  }
}

}  // namespace sandbox::agent
