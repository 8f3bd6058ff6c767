#pragma once

#include <memory>

#include "agent/v1/state.hpp"

namespace sandbox::agent {

/// What outlives the streams and transports of clients.
class Sessions {
 public:
  explicit Sessions(Agent& agent) : agent_(agent) {}

  /// Of the v1 dialect. Made at first use.
  v1::State& v1() {
    if (!v1_) v1_ = std::make_unique<v1::State>(agent_);
    return *v1_;
  }

 private:
  Agent& agent_;
  std::unique_ptr<v1::State> v1_;
};

}  // namespace sandbox::agent
