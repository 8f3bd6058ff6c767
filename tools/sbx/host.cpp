#include <cstdio>

#include <sandbox/runtime.hpp>

#include "options.hpp"
#include "text.hpp"

namespace sbx {

int show_host(bool json) {
  auto runtime = sandbox::Runtime::open(sandbox::RuntimeOptions().launchers(1));
  auto report = runtime ? runtime->host() : sandbox::Result<sandbox::HostReport>(std::move(runtime).error());
  if (!report) {
    if (json) std::printf("%s\n", Json::object().add("error", to_json(report.error())).str().c_str());
    std::fprintf(stderr, "sbx: %s\n", report.error().to_string().c_str());
    return kOwnFailure;
  }
  if (json) {
    Json enforced = Json::array(), unenforced = Json::array();
    for (const auto& line : report->enforced) enforced.push(line);
    for (const auto& line : report->unenforced) unenforced.push(line);
    std::printf("%s\n", Json::object().add("backend", report->backend).add("rootless", report->rootless)
                            .add("enforced", enforced).add("unenforced", unenforced).str().c_str());
    return 0;
  }
  std::printf("backend: %s%s\n", report->backend.c_str(), report->rootless ? ", rootless" : "");
  std::printf("enforced here:\n");
  for (const auto& line : report->enforced) std::printf("  + %s\n", line.c_str());
  if (report->unenforced.empty()) {
    std::printf("not enforced here: nothing; every lock and limit is in force\n");
  } else {
    std::printf("not enforced here (a sandbox is refused unless --allow-unenforced-limits):\n");
    for (const auto& line : report->unenforced) std::printf("  - %s\n", line.c_str());
  }
  return 0;
}

}  // namespace sbx
