#include "launch/plan.hpp"

#include <linux/filter.h>

#include "protocol/build_id.hpp"

namespace sandbox::launch {
namespace {

Error refuse(std::string_view field, std::string_view why) {
  std::string text("launch plan: ");
  text += field;
  text += ": ";
  text += why;
  return Error(ErrorCode::invalid_argument, std::move(text)).with_operation("native.plan");
}

bool is_absolute(std::string_view path) {
  return !path.empty() && path.front() == '/' && path.size() <= protocol::kMaxPath && path.find('\0') == path.npos;
}

bool is_hostname(std::string_view name) {
  if (name.empty() || name.size() > 63 || name.front() == '-') return false;
  for (char c : name)
    if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_'))
      return false;
  return true;
}

}  // namespace

bool is_plain_relative(std::string_view path) noexcept {
  if (path.empty() || path.size() > protocol::kMaxPath || path.find('\0') != path.npos) return false;
  while (!path.empty()) {
    const std::size_t slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    if (part.empty() || part == "." || part == "..") return false;
    if (slash == path.npos) return true;
    path.remove_prefix(slash + 1);
  }
  return false;  // it ended in a slash
}

Result<void> validate(const LaunchPlan& plan) {
  if (plan.recipe == 0) return refuse("recipe", "0 is no number");
  if (plan.tree.entries.empty() && plan.tree.layers.empty()) return refuse("tree", "empty");
  if (plan.tree.entries.size() > kMaxTreeEntries) return refuse("tree.entries", "too many");
  if (plan.tree.layers.size() > kMaxLayers) return refuse("tree.layers", "too many");
  for (const TreeEntry& entry : plan.tree.entries) {
    if (!is_plain_relative(entry.path)) return refuse("tree.entries.path", "not a plain relative path");
    if (entry.mode > 0777) return refuse("tree.entries.mode", "beyond 0777");
    switch (entry.kind) {
      case EntryKind::directory:
        if (!entry.source.empty()) return refuse("tree.entries.source", "a directory has none");
        break;
      case EntryKind::symlink:
        if (entry.source.empty() || entry.source.size() > protocol::kMaxPath || entry.source.find('\0') != entry.source.npos)
          return refuse("tree.entries.source", "no target of a symlink");
        break;
      case EntryKind::file: break;
      case EntryKind::copy:
      case EntryKind::bind:
        if (!is_absolute(entry.source)) return refuse("tree.entries.source", "not an absolute path");
        break;
      default: return refuse("tree.entries.kind", "unknown");
    }
  }
  for (const std::string& layer : plan.tree.layers)
    if (!is_absolute(layer)) return refuse("tree.layers", "not an absolute path");
  if (!plan.scratch_layer.empty() && !is_absolute(plan.scratch_layer)) return refuse("scratch_layer", "not an absolute path");
  if (plan.pinned.size() > kMaxLayers) return refuse("pinned", "too many");
  for (const std::string& directory : plan.pinned)
    if (!is_absolute(directory)) return refuse("pinned", "not an absolute path");
  if (!is_hostname(plan.hostname)) return refuse("hostname", "1 to 63 letters, digits, '-', '.', '_'");
  if (!is_absolute(plan.workdir)) return refuse("workdir", "not an absolute path");
  if (plan.environment.size() > protocol::kMaxArguments) return refuse("environment", "too many variables");
  std::size_t environment = 0;
  for (const std::string& variable : plan.environment) {
    const std::size_t equals = variable.find('=');
    if (equals == variable.npos || equals == 0 || variable.find('\0') != variable.npos)
      return refuse("environment", "not NAME=value");
    environment += variable.size() + 1;
  }
  if (environment > kMaxEnvironment) return refuse("environment", "more than 64 KiB");
  if (plan.network != NetworkMode::none && plan.network != NetworkMode::bridge) return refuse("network", "unknown");
  if (plan.memory < (8ull << 20) || plan.memory > (1ull << 50)) return refuse("memory", "8 MiB to 1 PiB");
  if (plan.cpu_quota < 1000 || plan.cpu_quota > 100000u * 4096) return refuse("cpu_quota", "1 ms to 4096 cores per 100 ms");
  if (plan.pids < 2 || plan.pids > 4194304) return refuse("pids", "2 to 4194304");
  if (plan.open_files < 16 || plan.open_files > (1u << 30)) return refuse("open_files", "16 to 2^30");
  if (plan.disk < 65536 || plan.disk > (1ull << 50)) return refuse("disk", "64 KiB to 1 PiB");
  if (plan.inodes < 16 || plan.inodes > (1ull << 40)) return refuse("inodes", "16 to 2^40");
  if (plan.filter.empty() || plan.filter.size() % sizeof(sock_filter) != 0 ||
      plan.filter.size() / sizeof(sock_filter) > kMaxFilter)
    return refuse("filter", "1 to 4096 whole instructions");
  return {};
}

Result<void> validate(const Persist& persist) {
  if (!is_absolute(persist.path)) return refuse("persist.path", "not an absolute path");
  if (persist.orphan_ms == 0 || persist.orphan_ms > kMaxOrphanMs) return refuse("persist.orphan_ms", "1 ms to one day");
  return {};
}

Result<void> validate(const Commit& commit) {
  if (commit.id == 0) return refuse("commit.id", "0 is no number");
  if (commit.record.empty() || commit.record.size() > kMaxRecord) return refuse("commit.record", "1 byte to 128 KiB");
  return {};
}

Error build_mismatch(std::string_view program, std::string_view theirs) {
  std::string text(program);
  text += " is build ";
  text += theirs.empty() ? std::string_view("unknown (older)") : theirs.substr(0, 64);
  text += ", this is build ";
  text += protocol::build_id();
  text += ": reinstall library, sandbox-launcher and sandbox-agent together";
  return Error(ErrorCode::failed_precondition, std::move(text)).with_operation("native.build");
}

Reply failure(std::uint64_t number, const Error& error) {
  Reply reply;
  reply.number = number;
  reply.code = static_cast<std::uint16_t>(error.code());
  reply.sys_errno = error.sys_errno();
  reply.operation = error.operation();
  reply.message = error.message();
  return reply;
}

Error error_of(const Reply& reply) {
  const bool known = reply.code >= 1 && reply.code <= static_cast<std::uint16_t>(ErrorCode::internal);
  Error error(known ? static_cast<ErrorCode>(reply.code) : ErrorCode::internal, reply.message);
  return std::move(error).with_operation(reply.operation).with_errno(reply.sys_errno).with_origin(Origin::host);
}

}  // namespace sandbox::launch
