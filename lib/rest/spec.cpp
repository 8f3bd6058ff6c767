#include <set>

#include "rest/forms.hpp"

namespace sandbox::rest {
namespace {

/// Bytes as a number, or a text like "512m".
Result<void> amount_into(const Value& value, ByteCount& target) {
  if (value.is_string()) {
    auto size = read_size(value.text());
    if (!size) return std::move(size).error().with_context(value.name());
    target = *size;
    return {};
  }
  std::uint64_t bytes = target.bytes();
  SANDBOX_CHECK(value.into(bytes));
  target = ByteCount(bytes);
  return {};
}

}  // namespace

void put(JsonWriter& json, const Image& image) {
  switch (image.kind()) {
    case Image::Kind::host: json.value("host"); return;
    case Image::Kind::template_id: json.begin_object().member("template", image.reference()).end_object(); return;
    case Image::Kind::directory: json.begin_object().member("directory", image.reference()).end_object(); return;
    case Image::Kind::tar: json.begin_object().member("tar", image.reference()).end_object(); return;
  }
}

Result<Image> image_of(const Value& value) {
  if (value.is_string()) {
    // A bare path would leave open whose file system is meant and whether it is looked at while reading.
    const std::string_view text = value.text();
    if (text == "host") return Image::host();
    if (text.starts_with("tpl-")) return Image::from_template(std::string(text));
    return value.wrong(R"("host", "tpl-…", {"directory":path} or {"tar":path})");
  }
  std::optional<Image> image;
  auto taken = value.each_member([&](const Value& member) -> Result<void> {
    std::string reference;
    const bool is_template = member.is("template"), is_directory = member.is("directory");
    if (!is_template && !is_directory && !member.is("tar")) return {};
    SANDBOX_CHECK(member.into(reference));
    if (reference.empty() || reference.find('\0') != std::string::npos) return member.wrong("a name or path");
    if (is_template) image = Image::from_template(std::move(reference));
    else if (is_directory) image = Image::directory(std::move(reference));
    else image = Image::tar(std::move(reference));
    return {};
  });
  if (!taken) return std::move(taken).error();
  if (!image) {
    if (value.is_null()) return Image::host();
    return value.wrong("an image");
  }
  return *std::move(image);
}

void put(JsonWriter& json, const Limits& limits) {
  json.begin_object()
      .member("memory", limits.memory().bytes())
      .member("cpus", limits.cpus())
      .member("pids", limits.pids())
      .member("open_files", limits.open_files())
      .member("disk", limits.disk().bytes())
      .member("inodes", limits.inodes())
      .end_object();
}

Result<Limits> limits_of(const Value& value) {
  Limits limits;
  auto taken = value.each_member([&](const Value& member) -> Result<void> {
    if (member.is("memory") || member.is("disk")) {
      ByteCount amount = member.is("memory") ? limits.memory() : limits.disk();
      SANDBOX_CHECK(amount_into(member, amount));
      if (member.is("memory")) limits.memory(amount);
      else limits.disk(amount);
    } else if (member.is("cpus")) {
      double cpus = limits.cpus();
      SANDBOX_CHECK(member.into(cpus));
      limits.cpus(cpus);
    } else if (member.is("pids")) {
      std::uint32_t pids = limits.pids();
      SANDBOX_CHECK(member.into(pids));
      limits.pids(pids);
    } else if (member.is("open_files")) {
      std::uint32_t files = limits.open_files();
      SANDBOX_CHECK(member.into(files));
      limits.open_files(files);
    } else if (member.is("inodes")) {
      std::uint64_t inodes = limits.inodes();
      SANDBOX_CHECK(member.into(inodes));
      limits.inodes(inodes);
    }
    return {};
  });
  if (!taken) return std::move(taken).error();
  return limits;
}

void put(JsonWriter& json, const SandboxSpec& spec) {
  json.begin_object().key("image");
  put(json, spec.image());
  json.key("limits");
  put(json, spec.limits());
  json.member("network", spec.network() == Network::bridge ? "bridge" : "none");
  json.key("env").begin_object();
  for (std::size_t i = 0; i < spec.env().size(); ++i) {
    // Of equal names the last one holds, here as in the sandbox.
    bool again = false;
    for (std::size_t j = i + 1; j < spec.env().size() && !again; ++j) again = spec.env()[j].first == spec.env()[i].first;
    if (!again) json.member(spec.env()[i].first, spec.env()[i].second);
  }
  json.end_object()
      .member("workdir", spec.workdir())
      .member("hostname", spec.hostname())
      .member("writable_root", spec.is_root_writable())
      .member("backend", spec.backend())
      .member("user", spec.user())
      .member("sealed", spec.is_sealed())
      .member("allow_unenforced_limits", spec.allows_unenforced_limits())
      .end_object();
}

Result<SandboxSpec> spec_of(const Value& value) {
  SandboxSpec spec;
  auto taken = value.each_member([&](const Value& member) -> Result<void> {
    const auto text = [&](auto&& set) -> Result<void> {
      if (member.is_null()) return {};
      std::string content;
      SANDBOX_CHECK(member.into(content));
      set(std::move(content));
      return {};
    };
    const auto truth = [&](auto&& set) -> Result<void> {
      bool on = false;
      SANDBOX_CHECK(member.into(on));
      if (on) set();
      return {};
    };
    if (member.is("image")) {
      SANDBOX_TRY(Image image, image_of(member));
      spec.image(std::move(image));
    } else if (member.is("limits")) {
      SANDBOX_TRY(Limits limits, limits_of(member));
      spec.limits(limits);
    } else if (member.is("network")) {
      std::string network = "none";
      SANDBOX_CHECK(member.into(network));
      if (network != "none" && network != "bridge") return member.wrong(R"("none" or "bridge")");
      spec.network(network == "bridge" ? Network::bridge : Network::none);
    } else if (member.is("env")) {
      std::set<std::string, std::less<>> seen;
      return member.each_member([&](const Value& variable) -> Result<void> {
        std::string content;
        SANDBOX_CHECK(variable.into(content));
        if (!seen.emplace(variable.name()).second) return variable.wrong("there once");
        spec.env(std::string(variable.name()), std::move(content));
        return {};
      });
    } else if (member.is("workdir")) {
      return text([&](std::string path) { spec.workdir(std::move(path)); });
    } else if (member.is("hostname")) {
      return text([&](std::string host) { spec.hostname(std::move(host)); });
    } else if (member.is("backend")) {
      return text([&](std::string backend) { spec.backend(std::move(backend)); });
    } else if (member.is("user")) {
      return text([&](std::string user) { spec.user(std::move(user)); });
    } else if (member.is("writable_root")) {
      return truth([&] { spec.writable_root(); });
    } else if (member.is("sealed")) {
      return truth([&] { spec.sealed(); });
    } else if (member.is("allow_unenforced_limits")) {
      return truth([&] { spec.allow(allow::unenforced_limits()); });
    }
    return {};
  });
  if (!taken) return std::move(taken).error();
  return spec;
}

std::string write(const SandboxSpec& spec) {
  JsonWriter json;
  put(json, spec);
  return std::move(json).take();
}

Result<SandboxSpec> read_spec(std::string_view json) { return read_document<SandboxSpec>(json, spec_of); }

}  // namespace sandbox::rest
