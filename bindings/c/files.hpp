#pragma once

#include <memory>

#include <sandbox/fs.hpp>

#include "handles.hpp"
#include "op.hpp"

/// What the calls on files and the streams of files have in common.
namespace sandbox::c {

/// The files of `handle`'s sandbox.
inline Result<Fs> files_of(const sbx_sandbox* handle) {
  SANDBOX_TRY(const auto box, object(handle));
  return box->fs();
}

void fill_transfer(sbx_transfer* out, const TransferSummary& summary);
/// `out` may be null: then nobody wants to know.
Result<void> check_transfer(const sbx_transfer* out);

}  // namespace sandbox::c
