#pragma once

#include "lab/netlab.hpp"

namespace sandbox::testing {

using lab::NetLab;

}  // namespace sandbox::testing
