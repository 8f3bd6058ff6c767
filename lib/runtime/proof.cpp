#include "runtime/proof.hpp"

#include <fcntl.h>
#include <sodium/crypto_hash_sha256.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "core/text.hpp"
#include "core/unique_fd.hpp"
#include "protocol/build_id.hpp"

namespace sandbox::runtime {
namespace {

constexpr std::size_t kMaxReport = 16 << 20;

std::string sha256(std::string_view bytes) {
  unsigned char digest[crypto_hash_sha256_BYTES];
  crypto_hash_sha256(digest, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
  return core::to_hex(digest, sizeof digest);
}

std::string first_line(const char* path) {
  const core::UniqueFd file(::open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  char text[128];
  const ssize_t size = file ? ::read(file.get(), text, sizeof text) : -1;
  const std::string_view whole(text, size > 0 ? static_cast<std::size_t>(size) : 0);
  return std::string(whole.substr(0, whole.find('\n')));
}

/// Not the machine's id itself, which is nobody's business (machine-id(5)).
std::string host_identity() {
  std::string id = first_line("/etc/machine-id");
  if (id.empty()) id = "boot " + first_line("/proc/sys/kernel/random/boot_id");
  return sha256("sandbox-proof " + id).substr(0, 32);
}

Error refused(const std::string& path, const std::string& what) {
  return Error(ErrorCode::failed_precondition,
               "proof " + core::escape_control(path) + ": " + what + "; run `sbx prove --report " + core::escape_control(path) + "`")
      .with_operation("runtime.proof");
}

Result<std::string> read_report(const std::string& path) {
  const core::UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  if (!file) {
    const int why = errno;
    if (why == ENOENT || why == ENOTDIR) return refused(path, "there is none");
    return Error::from_errno(why, "runtime.proof", path);
  }
  struct stat status;
  if (::fstat(file.get(), &status) != 0) return Error::from_errno(errno, "runtime.proof", path);
  if (!S_ISREG(status.st_mode)) return refused(path, "not a regular file");
  if ((status.st_uid != 0 && status.st_uid != ::geteuid()) || (status.st_mode & 022) != 0)
    return Error(ErrorCode::permission_denied, "proof " + core::escape_control(path) + ": others than root and us could have written it")
        .with_operation("runtime.proof");
  if (status.st_size > static_cast<off_t>(kMaxReport)) return refused(path, "too large for a report");
  std::string text(kMaxReport + 1, '\0');
  std::size_t size = 0;
  for (ssize_t got; size < text.size() && (got = ::read(file.get(), text.data() + size, text.size() - size)) != 0;) {
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Error::from_errno(errno, "runtime.proof", path);
    size += static_cast<std::size_t>(got);
  }
  if (size > kMaxReport) return refused(path, "too large for a report");
  text.resize(size);
  return text;
}

std::string difference(const std::vector<std::string>& proven, const std::vector<std::string>& ours) {
  for (const std::string& line : ours)
    if (std::ranges::find(proven, line) == proven.end()) return "here it is \"" + line + "\"";
  for (const std::string& line : proven)
    if (std::ranges::find(ours, line) == ours.end()) return "it was for \"" + core::escape_control(line) + "\"";
  return "the same lines in another order";
}

}  // namespace

std::vector<std::string> complete_policy(std::vector<std::string> lines) {
  lines.push_back("build " + std::string(protocol::build_id()));
  utsname kernel{};
  ::uname(&kernel);
  lines.push_back(std::string("kernel ") + kernel.release + " " + kernel.machine + " " + kernel.version);
  lines.push_back("host " + host_identity());
  lines.push_back("uid " + std::to_string(::geteuid()));
  return lines;
}

std::string policy_digest(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + '\n';
  return sha256(text);
}

Result<ProveReport> read_proof(const std::string& path) {
  SANDBOX_TRY(const std::string text, read_report(path));
  auto report = read_prove_report(text);
  if (!report)
    return Error(ErrorCode::corrupt, "proof " + core::escape_control(path) + " cannot be read; run `sbx prove --report " + core::escape_control(path) + "`")
        .with_operation("runtime.proof")
        .with_cause(std::move(report).error());
  for (const CheckResult& check : report->checks)
    if (check.status == CheckStatus::failed) return refused(path, "check " + core::escape_control(check.id) + " failed");
  if (!report->passed()) return refused(path, "nothing was checked");
  // A run of some checks only proves those.
  if (report->set != "quick" && report->set != "full") return refused(path, "only some checks were run");
  // Told by the lines and not by the report's own digest of them: that one is for people and for other programs.
  if (policy_digest(report->policy) != report->policy_sha256) return refused(path, "its policy was changed afterwards");
  return report;
}

Result<void> check_proof(const std::string& path, const std::vector<std::string>& policy) {
  SANDBOX_TRY(const ProveReport report, read_proof(path));
  if (report.policy_sha256 != policy_digest(policy))
    return refused(path, "it is not for this build, host and policy: " + difference(report.policy, policy));
  return {};
}

}  // namespace sandbox::runtime
