#pragma once

#include <atomic>

#include <sandbox/result.hpp>
#include <sandbox/sandbox.hpp>

#include "parse.hpp"

namespace sbx {

/// Copies `transfer.host` into the sandbox (upload), or `transfer.box` out of it (download); missing parent directories
/// are made on either side. A bar on standard error when `show_progress` and it takes longer than a moment. `stop` ends
/// it early with `cancelled`.
sandbox::Result<void> upload(sandbox::Sandbox& box, const Transfer& transfer, bool show_progress, const std::atomic<bool>& stop);
sandbox::Result<void> download(sandbox::Sandbox& box, const Transfer& transfer, bool show_progress, const std::atomic<bool>& stop);

}  // namespace sbx
