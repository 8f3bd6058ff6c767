#pragma once

#include <memory>

#include "agent/resumable.hpp"
#include "agent/v1/state.hpp"

namespace sandbox::agent {

/// What outlives the streams and transports of clients.
class Sessions {
 public:
  explicit Sessions(Agent& agent) : agent_(agent), resumable_(agent) {}

  /// Of the v1 dialect. Made at first use.
  v1::State& v1() {
    if (!v1_) v1_ = std::make_unique<v1::State>(agent_);
    return *v1_;
  }
  /// Nested v2 sessions that may be resumed.
  ResumableSessions& resumable() noexcept { return resumable_; }

 private:
  Agent& agent_;
  std::unique_ptr<v1::State> v1_;
  ResumableSessions resumable_;   ///< their operations may carry clients of v1_
};

}  // namespace sandbox::agent
