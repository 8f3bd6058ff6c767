#include <cstdio>
#include <ctime>

#include <sandbox/runtime.hpp>

#include "options.hpp"
#include "text.hpp"

namespace sbx {

namespace {

int fail(const sandbox::Error& error, bool json = false) {
  if (json) std::printf("%s\n", Json::object().add("error", to_json(error)).str().c_str());
  std::fprintf(stderr, "sbx: %s\n", error.to_string().c_str());
  return kOwnFailure;
}

std::string utc(std::chrono::system_clock::time_point time) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(time);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

}  // namespace

int list_templates(bool json) {
  auto runtime = sandbox::Runtime::open(sandbox::RuntimeOptions().launchers(1));
  if (!runtime) return fail(runtime.error(), json);
  const auto templates = runtime->templates();
  if (!templates) return fail(templates.error(), json);
  if (json) {
    Json list = Json::array();
    for (const auto& info : *templates) {
      list.push(Json::object().add("id", info.id).add("label", info.label).add("digest", info.digest)
                    .add("size", info.size.bytes()).add("image", info.image.to_string())
                    .add("writable_root", info.writable_root).add("created", utc(info.created)));
    }
    std::printf("%s\n", list.str().c_str());
    return 0;
  }
  if (templates->empty()) {
    std::printf("no templates; make one with: sbx run --save-template LABEL -- CMD\n");
    return 0;
  }
  std::printf("%-20s  %-20s  %10s  %-20s  %s\n", "ID", "LABEL", "SIZE", "CREATED", "IMAGE");
  for (const auto& info : *templates) {
    std::printf("%-20s  %-20s  %10s  %-20s  %s\n", info.id.c_str(), info.label.c_str(), human_size(info.size.bytes()).c_str(),
                utc(info.created).c_str(), info.image.to_string().c_str());
  }
  return 0;
}

int remove_templates(const std::vector<std::string>& ids) {
  auto runtime = sandbox::Runtime::open(sandbox::RuntimeOptions().launchers(1));
  if (!runtime) return fail(runtime.error());
  int status = 0;
  for (const auto& id : ids) {
    const auto removed = runtime->remove_template(id);
    if (removed) std::printf("%s\n", id.c_str());
    else status = fail(removed.error());
  }
  return status;
}

}  // namespace sbx
