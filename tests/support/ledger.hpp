#pragma once

#include "lab/ledger.hpp"

namespace sandbox::testing {

using lab::descendants;
using lab::difference;
using lab::Ledger;
using lab::settle;

}  // namespace sandbox::testing
