#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <sandbox/fwd.hpp>
#include <sandbox/image.hpp>
#include <sandbox/limits.hpp>
#include <sandbox/result.hpp>

namespace sandbox {

/// Everything writable of a sandbox, saved as a layer over the image it came from.
struct TemplateInfo {
  std::string id;          ///< "tpl-" and the first 16 hex digits of the content's digest
  std::string label;
  std::string digest;      ///< "sha256:…" of the uncompressed layer
  ByteCount size;          ///< at rest, compressed
  Image image = Image::host();  ///< what lies underneath
  Limits limits;           ///< of the sandbox it was saved from
  bool writable_root = false;
  std::chrono::system_clock::time_point created;
};

}  // namespace sandbox
