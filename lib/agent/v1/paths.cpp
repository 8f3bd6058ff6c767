#include "agent/v1/paths.hpp"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "agent/fs_support.hpp"

namespace sandbox::agent::v1 {
namespace {

constexpr int kMaxLinks = 40;   // as the kernel: path_resolution(7)

/// Appends the components of `path` to `parts`, last one first.
void push_components(std::vector<std::string>& parts, std::string_view path) {
  while (!path.empty()) {
    const auto slash = path.rfind('/');
    const auto part = slash == std::string_view::npos ? path : path.substr(slash + 1);
    path = slash == std::string_view::npos ? std::string_view() : path.substr(0, slash);
    if (!part.empty() && part != ".") parts.emplace_back(part);
  }
}

void drop_last(std::string& path) {
  const auto slash = path.rfind('/');
  path.resize(slash == std::string::npos ? 0 : slash);
}

/// Lexically: absolute, without ".", ".." and double slashes; empty stands for "/".
std::string clean(std::string_view path, std::string_view base) {
  std::vector<std::string> parts;
  push_components(parts, path);
  if (!path.starts_with('/')) push_components(parts, base);
  std::string out;
  for (; !parts.empty(); parts.pop_back()) {
    if (parts.back() == "..") drop_last(out);
    else (out += '/') += parts.back();
  }
  return out;
}

/// `path` (cleaned) with the symlinks of its longest existing prefix resolved. May race with the guest: only where it
/// leads is decided here, and the files are opened so that a change since is refused.
Result<std::string> resolve(std::string_view path, Paths::Last last) {
  std::vector<std::string> parts;
  push_components(parts, path);
  std::string out;
  for (int links = 0; !parts.empty();) {
    const std::string part = std::move(parts.back());
    parts.pop_back();
    if (part == "..") {
      drop_last(out);
      continue;
    }
    (out += '/') += part;
    if (parts.empty() && last == Paths::Last::keep) continue;
    if (out.size() > protocol::kMaxPath) return Error::from_errno(ENAMETOOLONG, "v1.path");
    const std::string target = read_link(AT_FDCWD, out.c_str());
    if (target.empty()) continue;   // something else, or nothing
    if (++links > kMaxLinks) return Error::from_errno(ELOOP, "v1.path");
    drop_last(out);
    if (target.front() == '/') out.clear();
    push_components(parts, target);
  }
  return out;
}

}  // namespace

std::string_view Located::directory() const noexcept {
  const auto slash = relative.rfind('/');
  return slash == std::string::npos ? std::string_view() : std::string_view(relative).substr(0, slash);
}

std::string Located::name() const {
  const auto slash = relative.rfind('/');
  return slash == std::string::npos ? relative : relative.substr(slash + 1);
}

Paths Paths::from(const Environment& environment) {
  std::vector<std::string> allowed;
  std::string_view list = environment.find("SANDBOX_FS_ALLOWED").value_or(std::string_view());
  while (!list.empty()) {
    const auto colon = list.find(':');
    if (list.front() == '/') allowed.emplace_back(list.substr(0, colon));
    list.remove_prefix(colon == std::string_view::npos ? list.size() : colon + 1);
  }
  if (allowed.empty()) allowed = {"/root", "/tmp"};
  return Paths(std::move(allowed), "/root");
}

Result<Located> Paths::locate(std::string_view path, Last last) const {
  if (path.empty()) return Error(ErrorCode::invalid_argument, "path is required");
  if (path.find('\0') != std::string_view::npos) return Error(ErrorCode::invalid_argument, "path contains a NUL byte");
  if (path.size() > protocol::kMaxPath) return Error::from_errno(ENAMETOOLONG, "v1.path");
  SANDBOX_TRY(const std::string resolved, resolve(clean(path, base_), last));
  for (const auto& prefix : allowed_) {
    SANDBOX_TRY(const std::string directory, resolve(clean(prefix, {}), Last::follow));
    if (!resolved.starts_with(directory)) continue;
    if (resolved.size() > directory.size() && resolved[directory.size()] != '/') continue;
    Located located;
    located.shown = resolved.empty() ? "/" : resolved;
    located.root.reset(::open(directory.empty() ? "/" : directory.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!located.root) return Error::from_errno(errno, "v1.path");
    if (resolved.size() > directory.size()) located.relative = resolved.substr(directory.size() + 1);
    return located;
  }
  return Error(ErrorCode::permission_denied, "access denied: path \"" + std::string(path) + "\" is outside allowed directories");
}

core::UniqueFd make_beneath(int root, std::string_view relative) noexcept {
  core::UniqueFd at = open_beneath(root, relative, O_PATH | O_DIRECTORY);
  if (at || errno != ENOENT) return at;
  at = open_beneath(root, {}, O_PATH | O_DIRECTORY);
  while (at && !relative.empty()) {
    const auto slash = relative.find('/');
    const std::string component(relative.substr(0, slash));
    relative.remove_prefix(slash == std::string_view::npos ? relative.size() : slash + 1);
    if (::mkdirat(at.get(), component.c_str(), 0755) != 0 && errno != EEXIST) return {};
    at = open_beneath(at.get(), component, O_PATH | O_DIRECTORY);
  }
  return at;
}

}  // namespace sandbox::agent::v1
