#include "runtime/profile.hpp"

#include <bit>
#include <cmath>
#include <cstdio>

namespace sandbox::runtime {
namespace {

void add(std::string& out, std::string_view text) {
  out += std::to_string(text.size());
  out += ':';
  out += text;
}
void add(std::string& out, std::uint64_t number) {
  out += std::to_string(number);
  out += ',';
}

Error invalid(std::string what) { return Error(ErrorCode::invalid_argument, std::move(what)).with_operation("runtime.spec"); }

bool has_nul(std::string_view text) { return text.find('\0') != std::string_view::npos; }

}  // namespace

std::string profile_key(const SandboxSpec& spec) {
  std::string key;
  key.reserve(160);
  add(key, static_cast<std::uint64_t>(spec.image().kind()));
  add(key, spec.image().reference());
  add(key, spec.limits().memory().bytes());
  add(key, std::bit_cast<std::uint64_t>(spec.limits().cpus()));
  add(key, spec.limits().pids());
  add(key, spec.limits().open_files());
  add(key, spec.limits().disk().bytes());
  add(key, spec.limits().inodes());
  add(key, static_cast<std::uint64_t>(spec.network()));
  add(key, spec.env().size());
  for (const auto& [name, value] : spec.env()) {
    add(key, name);
    add(key, value);
  }
  add(key, spec.workdir());
  add(key, spec.hostname());
  add(key, std::uint64_t{spec.is_root_writable()});
  add(key, spec.backend());
  add(key, spec.user());
  add(key, std::uint64_t{spec.is_sealed()});
  add(key, std::uint64_t{spec.allows_unenforced_limits()});
  return key;
}

std::string profile_name(const SandboxSpec& spec) {
  char numbers[160];
  std::snprintf(numbers, sizeof numbers, " net=%s mem=%lluMiB cpus=%g pids=%u disk=%lluMiB",
                spec.network() == Network::none ? "none" : "bridge",
                static_cast<unsigned long long>(spec.limits().memory().bytes() >> 20), spec.limits().cpus(),
                spec.limits().pids(), static_cast<unsigned long long>(spec.limits().disk().bytes() >> 20));
  std::string name = spec.image().to_string() + numbers;
  if (spec.is_root_writable()) name += " writable-root";
  if (!spec.env().empty()) name += " env=" + std::to_string(spec.env().size());
  if (spec.backend() != "native") name += " backend=" + spec.backend();
  if (!spec.user().empty()) name += " user=" + spec.user();
  if (spec.is_sealed()) name += " sealed";
  return name;
}

Result<void> validate(const SandboxSpec& spec) {
  const Limits& limits = spec.limits();
  if (limits.memory() < ByteCount::mib(8)) return invalid("memory limit below 8 MiB");
  if (!std::isfinite(limits.cpus()) || limits.cpus() < 0.01) return invalid("cpu limit below 0.01 cores");
  if (limits.pids() < 2) return invalid("pids limit below 2: the agent and one program");
  if (limits.open_files() < 16) return invalid("open files limit below 16");
  if (limits.disk().bytes() == 0) return invalid("disk limit of 0");
  if (limits.inodes() == 0) return invalid("inode limit of 0");
  if (spec.env().size() > 4096) return invalid("more than 4096 environment variables");
  for (const auto& [name, value] : spec.env()) {
    if (name.empty() || has_nul(name) || name.find('=') != std::string::npos)
      return invalid("environment variable name is empty or contains '=' or NUL");
    if (has_nul(value)) return invalid("environment variable " + name + " contains NUL");
  }
  if (!spec.workdir().starts_with('/') || has_nul(spec.workdir()) || spec.workdir().size() > 4095)
    return invalid("workdir is not an absolute path");
  const std::string& host = spec.hostname();
  if (host.empty() || host.size() > 63 ||
      host.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.") != std::string::npos)
    return invalid("hostname must be 1 to 63 letters, digits, '-' or '.'");
  return {};
}

}  // namespace sandbox::runtime
