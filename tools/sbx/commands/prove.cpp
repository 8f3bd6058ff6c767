#include <sandbox/prove.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "commands/commands.hpp"
#include "output.hpp"

namespace sbx::commands {

using sandbox::CheckResult;
using sandbox::CheckStatus;
using sandbox::Error;
using sandbox::ErrorCode;
using sandbox::Result;

namespace {

constexpr int kCouldNotRun = 2;

struct ProveValues {
  std::string backend = "native", report;
  std::vector<std::string> only;
  bool full = false, list = false, without_sandbox = false;
};

/// Complete or not at all: written beside it, synced, renamed. Only we may write to it, or no runtime would take it.
Result<void> write_report(const std::string& path, const std::string& text) {
  std::string unfinished = path + ".XXXXXX";
  const int fd = ::mkostemp(unfinished.data(), O_CLOEXEC);
  if (fd < 0) return Error::from_errno(errno, "prove.report", path);
  const auto failed = [&] {
    Error error = Error::from_errno(errno, "prove.report", path);
    ::close(fd);
    ::unlink(unfinished.c_str());
    return error;
  };
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t size = ::write(fd, text.data() + done, text.size() - done);
    if (size < 0 && errno != EINTR) return failed();
    done += size > 0 ? static_cast<std::size_t>(size) : 0;
  }
  if (::fchmod(fd, 0644) != 0 || ::fsync(fd) != 0 || ::rename(unfinished.c_str(), path.c_str()) != 0) return failed();
  ::close(fd);
  return {};
}

void tell_progress(const CheckResult& check) {
  const char* mark = check.status == CheckStatus::passed ? "ok  " : check.status == CheckStatus::failed ? "FAIL" : "skip";
  std::fprintf(stderr, "%s  %-26s %6lld ms\n", mark, check.id.c_str(), static_cast<long long>(check.duration.count()));
}

int prove_host(const ProveValues& values, const Common& common) {
  if (values.list) {
    for (const std::string& id : sandbox::check_ids()) std::printf("%s\n", id.c_str());
    return 0;
  }
  sandbox::ProveOptions options;
  options.backend(values.backend).full(values.full).only(values.only).without_sandbox(values.without_sandbox);
  if (!common.quiet && !common.json && ::isatty(STDERR_FILENO) != 0) options.on_check(tell_progress);
  auto report = sandbox::prove_isolation(std::move(options));
  if (!report) return fail(common, report.error()), kCouldNotRun;
  if (report->checks.empty()) return fail(common, Error(ErrorCode::not_found, "no check has such an id; --list shows them")), kCouldNotRun;
  const std::string json = sandbox::to_json(*report);
  if (!values.report.empty()) {
    if (const auto written = write_report(values.report, json + "\n"); !written) return fail(common, written.error()), kCouldNotRun;
  }
  const bool heard = print(common.json ? json + "\n" : sandbox::to_text(*report));
  return report->passed() && heard ? 0 : kFailure;
}

}  // namespace

Command prove() {
  const auto values = std::make_shared<ProveValues>();
  Command command;
  command.path = "prove";
  command.help = "Attacks sandboxes of this host from inside and out, and says what held (by this process, not by a daemon)";
  command.examples = R"(Examples:
  sbx prove                                  the quick set, below ten seconds
  sbx prove --full --report proof.json       every check, every race 100000 times; minutes
  sbx prove --only files --only net.host     some of them
  sbx prove --json | jq '.checks[] | select(.status != "passed")'

As root the network checks run too, in a laboratory of namespaces: no packet leaves the machine. docs/THREAT_MODEL.md says what is
promised. A runtime opens only with the report where RuntimeOptions::require_proof says so, a daemon where
server.require_proof does.
Exit code: 0 nothing failed; 1 something failed; 2 the checks could not be run.
)";
  command.options = {
      {.names = "--backend", .into = &values->backend, .help = "Whose sandboxes: native", .value = "NAME"},
      {.names = "--full", .into = &values->full, .help = "Every race with 100000 rounds and more"},
      {.names = "--only", .into = &values->only, .help = "Only checks whose id begins so; repeatable", .value = "ID"},
      {.names = "--report",
       .into = &values->report,
       .help = "Writes the report as JSON to FILE",
       .value = "FILE",
       .completes = Completes::files},
      {.names = "--list", .into = &values->list, .help = "Prints the ids of all checks"},
      {.names = "--without-sandbox",
       .into = &values->without_sandbox,
       .help = "Judges the control run instead: shows that the checks can fail"},
  };
  command.run = [values](const Common& common) { return prove_host(*values, common); };
  return command;
}

}  // namespace sbx::commands
