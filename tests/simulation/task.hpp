#pragma once

#include "simulation/agent_end.hpp"

namespace sandbox::simulation {

/// Operations that are made from now on belong to `end`; null: none are made.
void make_tasks_for(AgentEnd* end) noexcept;

}  // namespace sandbox::simulation
