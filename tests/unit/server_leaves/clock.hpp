#pragma once

#include <sandbox/testing/manual_clock.hpp>

#include "core/clock.hpp"

using ManualClock = sandbox::testing::ManualClockOf<sandbox::core::Clock>;
