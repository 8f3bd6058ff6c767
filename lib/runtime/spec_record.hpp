#pragma once

#include <string>
#include <string_view>

#include <sandbox/result.hpp>
#include <sandbox/spec.hpp>

namespace sandbox::runtime {

/// A SandboxSpec as bytes and back, equal to what was encoded. For records that another process of the same build reads.
/// A field added to SandboxSpec belongs here and in tests/unit/runtime/spec_record_test.cpp.
std::string encode_spec(const SandboxSpec& spec);
/// Errors: protocol.
Result<SandboxSpec> decode_spec(std::string_view bytes);

/// What a persistent backend keeps of a sandbox for the next runtime.
struct BoxRecord {
  std::string id;
  std::string spec;   ///< encode_spec()
  std::string note;   ///< of whoever had it made; opaque
};
std::string encode_record(std::string_view id, std::string_view encoded_spec, std::string_view note);
/// Errors: protocol (also of another version of this record).
Result<BoxRecord> decode_record(std::string_view bytes);

}  // namespace sandbox::runtime
