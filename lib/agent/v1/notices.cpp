#include "agent/v1/notices.hpp"

#include <iterator>
#include <utility>

namespace sandbox::agent::v1 {

void NoticeBuffer::add(Notice notice) {
  if (notice.tier == Notice::Tier::state) {
    states_.push_back(std::move(notice));
    if (states_.size() > kMaxStates) states_.pop_front();
    return;
  }
  output_bytes_ += notice.body.size();
  outputs_.push_back(std::move(notice));
  while (outputs_.size() > kMaxOutputs || output_bytes_ > kMaxOutputBytes) {
    output_bytes_ -= outputs_.front().body.size();
    outputs_.pop_front();
    ++truncated_;
  }
}

void NoticeBuffer::drop() {
  truncated_ += size();
  states_.clear();
  outputs_.clear();
  output_bytes_ = 0;
}

std::deque<Notice> NoticeBuffer::take() {
  auto all = std::exchange(states_, {});
  std::move(outputs_.begin(), outputs_.end(), std::back_inserter(all));
  outputs_.clear();
  output_bytes_ = 0;
  truncated_ = 0;
  return all;
}

}  // namespace sandbox::agent::v1
