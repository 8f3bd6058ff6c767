#include "rest/forms.hpp"

namespace sandbox::rest {
namespace {

void put(JsonWriter& json, const SandboxInfo& info) {
  json.begin_object()
      .member("id", info.id)
      .member("image", info.image)
      .member("state", name(info.state))
      .member("created", write_time(info.created))
      .member("ttl", static_cast<std::int64_t>(info.ttl.count()));
  if (!info.profile.empty()) json.member("profile", info.profile);
  if (!info.template_id.empty()) json.member("template", info.template_id);
  if (!info.labels.empty()) rest::put(json.key("labels"), info.labels);
  if (info.spec) rest::put(json.key("spec"), *info.spec);
  if (!info.unenforced.empty()) {
    json.key("unenforced").begin_array();
    for (const std::string& line : info.unenforced) json.value(line);
    json.end_array();
  }
  json.end_object();
}

Result<void> state_into(const Value& value, SandboxState& state) {
  std::string text(name(state));
  SANDBOX_CHECK(value.into(text));
  for (int i = 0; i <= static_cast<int>(SandboxState::stopped); ++i) {
    if (text != name(static_cast<SandboxState>(i))) continue;
    state = static_cast<SandboxState>(i);
    return {};
  }
  return value.wrong("a state that is known here");
}

Result<SandboxInfo> info_of(const Value& value) {
  SandboxInfo info;
  auto taken = value.each_member([&](const Value& member) -> Result<void> {
    if (member.is("id")) return member.into(info.id);
    if (member.is("image")) return member.into(info.image);
    if (member.is("state")) return state_into(member, info.state);
    if (member.is("profile")) return member.into(info.profile);
    if (member.is("template")) return member.into(info.template_id);
    if (member.is("labels")) return member.into(info.labels);
    if (member.is("unenforced")) return member.into(info.unenforced);
    if (member.is("created")) {
      if (!member.is_string()) return member.wrong("a time");
      SANDBOX_TRY(info.created, read_time(member.text()));
    } else if (member.is("ttl")) {
      std::int32_t seconds = 0;
      SANDBOX_CHECK(member.into(seconds));
      info.ttl = std::chrono::seconds(seconds);
    } else if (member.is("spec") && !member.is_null()) {
      SANDBOX_TRY(info.spec, spec_of(member));
    }
    return {};
  });
  if (!taken) return std::move(taken).error();
  if (info.id.empty()) return Error(ErrorCode::invalid_argument, "a sandbox without an id");
  return info;
}

}  // namespace

void put(JsonWriter& json, const Labels& labels) {
  json.begin_object();
  for (const auto& [key, content] : labels) json.member(key, content);
  json.end_object();
}

std::string write(const CreateRequest& request, bool cold) {
  JsonWriter json;
  json.begin_object();
  if (!request.profile().empty()) json.member("profile", request.profile());
  if (!request.from_template().empty()) json.member("template", request.from_template());
  if (request.memory()) json.member("memory", std::to_string(request.memory()->bytes()));
  if (request.cpus()) json.member("cpu", *request.cpus());
  if (request.storage()) json.member("storage", std::to_string(request.storage()->bytes()));
  if (request.ttl().count() != 0) json.member("ttl", static_cast<std::int64_t>(request.ttl().count()));
  if (!request.labels().empty()) put(json.key("labels"), request.labels());
  if (request.spec()) put(json.key("spec"), *request.spec());
  if (cold) json.member("cold", true);
  json.end_object();
  return std::move(json).take();
}

Result<CreateBody> read_create(std::string_view json) {
  return read_document<CreateBody>(json, [](const Value& value) -> Result<CreateBody> {
    CreateBody body;
    auto taken = value.each_member([&](const Value& member) -> Result<void> {
      if (member.is("profile")) return member.into(body.profile);
      if (member.is("template")) return member.into(body.template_id);
      if (member.is("memory")) return member.into(body.memory);
      if (member.is("cpu")) return member.into(body.cpu);
      if (member.is("storage")) return member.into(body.storage);
      if (member.is("ttl")) return member.into(body.ttl);
      if (member.is("labels")) return member.into(body.labels);
      if (member.is("cold")) return member.into(body.cold);
      if (member.is("spec") && !member.is_null()) {
        SANDBOX_TRY(body.spec, spec_of(member));
      }
      return {};
    });
    if (!taken) return std::move(taken).error();
    return body;
  });
}

std::string write(const SandboxInfo& info) {
  JsonWriter json;
  put(json, info);
  return std::move(json).take();
}

std::string write(const std::vector<SandboxInfo>& list) {
  return write_list(list, [](JsonWriter& json, const SandboxInfo& info) { put(json, info); });
}

Result<SandboxInfo> read_sandbox(std::string_view json) { return read_document<SandboxInfo>(json, info_of); }
Result<std::vector<SandboxInfo>> read_sandboxes(std::string_view json) {
  return read_document<std::vector<SandboxInfo>>(json, [](const Value& value) { return value.list<SandboxInfo>(info_of); });
}

}  // namespace sandbox::rest
