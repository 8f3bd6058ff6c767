#pragma once

#include <string>

#include <sandbox/result.hpp>
#include <sandbox/spec.hpp>

namespace sandbox::runtime {

/// The whole of `spec` as text that is equal for two specs only if the specs are equal: every field, lengths before
/// strings. Together with the image's identity it is the key of a pool, so a field added to SandboxSpec belongs here;
/// tests/unit/runtime/profile_test.cpp fails otherwise.
std::string profile_key(const SandboxSpec& spec);

/// The same for people: "host net=none mem=512MiB cpus=1 pids=256 user=alice".
std::string profile_name(const SandboxSpec& spec);

/// Errors: invalid_argument naming the field: limits of zero or out of range, names and values with NUL or '=', a workdir
/// that is not absolute, a host name that is not one.
Result<void> validate(const SandboxSpec& spec);

}  // namespace sandbox::runtime
