#pragma once

#include "prove/stage.hpp"

namespace sandbox::prove {

/// All checks that the stage's options ask for, but for the ledger's, on `stage`.
Result<ProveReport> run(Stage& stage);

}  // namespace sandbox::prove
