#include "server/config.hpp"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <tuple>

#define TOML_EXCEPTIONS 0
#define TOML_HEADER_ONLY 1
#define TOML_ASSERT(condition) static_cast<void>(0)  // it asserts what it then refuses in its input: "[[\n"
#include <toml++/toml.h>

#include "core/text.hpp"
#include "server/config_schema.hpp"

namespace sandbox::server {
namespace {

using schema::Report;
using schema::Value;

constexpr std::size_t kMaxFile = 1 << 20;
constexpr std::size_t kMaxUnknown = 100;  ///< warnings about unknown keys
constexpr std::size_t kMaxProfiles = 64;

Value value_of(const toml::node& node) {
  Value value;
  value.line = node.source().begin.line;
  value.column = node.source().begin.column;
  if (const auto* text = node.as_string()) {
    value.kind = Value::Kind::text;
    value.text = text->get();
  } else if (const auto* integer = node.as_integer()) {
    value.kind = Value::Kind::integer;
    value.integer = integer->get();
  } else if (const auto* number = node.as_floating_point()) {
    value.kind = Value::Kind::number;
    value.number = number->get();
  } else if (const auto* truth = node.as_boolean()) {
    value.kind = Value::Kind::boolean;
    value.boolean = truth->get();
  } else if (const auto* array = node.as_array()) {
    value.kind = Value::Kind::texts;
    for (const toml::node& item : *array) {
      if (const auto* one = item.as_string()) value.texts.push_back(one->get());
      else value.kind = Value::Kind::other;
    }
  } else if (node.is_table()) {
    value.kind = Value::Kind::table;
  }
  return value;
}

/// Walks the file's tables and hands each key to whom it belongs.
class Walk {
 public:
  Walk(Report& report, Config& config) : report_(report), config_(config) {}

  void run(const toml::table& root) {
    for (const auto& [key, node] : root) section(std::string(key.str()), key, node);
  }

 private:
  void place(const std::string& path, const toml::key& key) {
    report_.place(path, key.source().begin.line, key.source().begin.column);
  }

  void unknown(const std::string& path) {
    if (++unknown_ > kMaxUnknown) return;
    const std::string similar = schema::similar_key(path);
    report_.warning(path, "unknown key " + path + (similar.empty() ? "" : "; did you mean " + similar + "?"));
  }

  /// Everything below something that we do not know.
  void all_unknown(const std::string& path, const toml::node& node) {
    const toml::table* table = node.as_table();
    if (table == nullptr || table->empty()) return unknown(path);
    for (const auto& [key, below] : *table) {
      const std::string name = path + "." + std::string(key.str());
      place(name, key);
      all_unknown(name, below);
    }
  }

  void section(const std::string& name, const toml::key& key, const toml::node& node) {
    place(name, key);
    const bool ours = std::any_of(schema::settings().begin(), schema::settings().end(), [&](const schema::Setting& setting) {
      return setting.key.substr(0, name.size() + 1) == name + ".";
    });
    const toml::table* table = node.as_table();
    if (!ours) return all_unknown(name, node);
    if (table == nullptr) return report_.error(name, name + " must be a table");
    for (const auto& [inner, below] : *table) {
      const std::string path = name + "." + std::string(inner.str());
      place(path, inner);
      if (path == "pool.base") profiles(below);
      else leaf(path, below);
    }
  }

  void leaf(const std::string& path, const toml::node& node) {
    for (const schema::Setting& setting : schema::settings()) {
      if (setting.key == path) return setting.read(report_, path, value_of(node), config_);
    }
    all_unknown(path, node);
  }

  void profiles(const toml::node& node) {
    const toml::table* table = node.as_table();
    if (table == nullptr) return report_.error("pool.base", "pool.base must be a table of profiles");
    if (table->size() > kMaxProfiles) return report_.error("pool.base", "pool.base has more than 64 profiles");
    for (const auto& [key, below] : *table) {
      const std::string path = "pool.base." + std::string(key.str());
      place(path, key);
      if (const toml::table* settings = below.as_table()) profile(path, config_.pool.base[std::string(key.str())], *settings);
      else report_.error(path, path + " must be a table");
    }
  }

  void profile(const std::string& path, ProfileConfig& into, const toml::table& table) {
    into = ProfileConfig();
    for (const auto& [key, node] : table) {
      const std::string name = path + "." + std::string(key.str());
      place(name, key);
      const auto& all = schema::profile_settings();
      const auto found = std::find_if(all.begin(), all.end(), [&, key = key.str()](const auto& one) { return one.key == key; });
      if (found == all.end()) all_unknown(name, node);
      else found->read(report_, name, value_of(node), into);
    }
  }

  Report& report_;
  Config& config_;
  std::size_t unknown_ = 0;
};

void apply_environment(Config& config, const Environment& environment) {
  const auto take = [&](std::string_view name, std::string& target) {
    if (const auto value = environment(name); value && !value->empty()) target = *value;
  };
  take("SANDBOX_SOCKET", config.server.socket);
  take("SANDBOX_TCP", config.server.tcp);
  take("SANDBOX_DATA_DIR", config.server.data_dir);
}

/// In the order of the file, which the tables of the parser do not keep.
void sort(std::vector<Diagnostic>& list) {
  std::stable_sort(list.begin(), list.end(), [](const Diagnostic& a, const Diagnostic& b) {
    return std::tie(a.line, a.column) < std::tie(b.line, b.column);
  });
}

}  // namespace

Environment process_environment() {
  return [](std::string_view name) -> std::optional<std::string> {
    const char* value = std::getenv(std::string(name).c_str());
    return value == nullptr ? std::nullopt : std::optional<std::string>(value);
  };
}

LoadedConfig parse_config(std::string_view text, const std::string& file, const Environment& environment) {
  LoadedConfig loaded;
  Report report(loaded, file);
  if (text.size() > kMaxFile) {
    report.error("", "the file is larger than 1 MiB");
    return loaded;
  }
  const toml::parse_result parsed = toml::parse(text, file);
  if (!parsed) {
    const toml::parse_error& error = parsed.error();
    loaded.errors.push_back({file, error.source().begin.line, error.source().begin.column,
                             core::escape_control(error.description())});
    return loaded;
  }
  Walk(report, loaded.config).run(parsed.table());
  apply_environment(loaded.config, environment);
  schema::check(report, loaded.config);
  sort(loaded.errors);
  sort(loaded.warnings);
  return loaded;
}

LoadedConfig load_config(const std::string& path, const Environment& environment) {
  if (path.empty()) return parse_config("", "", environment);
  std::ifstream file(path, std::ios::binary);
  std::string text(kMaxFile + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!file.is_open() || file.bad()) {
    LoadedConfig loaded;
    loaded.errors.push_back({path, 0, 0, "cannot read the configuration"});
    return loaded;
  }
  text.resize(static_cast<std::size_t>(file.gcount()));
  return parse_config(text, path, environment);
}

std::vector<ConfigChange> changes(const Config& from, const Config& to) {
  std::vector<ConfigChange> found;
  for (const schema::Setting& setting : schema::settings()) {
    if (!setting.same(from, to)) found.push_back({std::string(setting.key), setting.live});
  }
  // Cold creates use the new profile at once, and its pool is exchanged.
  for (const auto& [name, profile] : to.pool.base) {
    const auto old = from.pool.base.find(name);
    if (old == from.pool.base.end() || !(old->second == profile)) found.push_back({"pool.base." + name, true});
  }
  for (const auto& [name, profile] : from.pool.base) {
    if (to.pool.base.count(name) == 0) found.push_back({"pool.base." + name, true});
  }
  return found;
}

}  // namespace sandbox::server
