#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "server/config.hpp"

/// Inside of the configuration: which keys there are, and what is true of them together. Not for others.
namespace sandbox::server::schema {

/// A value of the file, freed from the TOML library.
struct Value {
  enum class Kind : std::uint8_t { text, integer, number, boolean, texts, table, other } kind = Kind::other;
  std::string text;
  std::int64_t integer = 0;
  double number = 0;
  bool boolean = false;
  std::vector<std::string> texts;
  unsigned line = 0;
  unsigned column = 0;
};

/// Collects diagnostics; knows where each key stands.
class Report {
 public:
  Report(LoadedConfig& into, std::string file) : into_(into), file_(std::move(file)) {}
  void place(const std::string& key, unsigned line, unsigned column) { places_[key] = {line, column}; }
  bool placed(const std::string& key) const { return places_.count(key) > 0; }
  /// About a key: with its place in the file if it has one. The text is escaped here.
  void error(const std::string& key, std::string_view text) { into_.errors.push_back(about(key, text)); }
  void warning(const std::string& key, std::string_view text) { into_.warnings.push_back(about(key, text)); }

 private:
  Diagnostic about(const std::string& key, std::string_view text) const;
  LoadedConfig& into_;
  std::string file_;
  std::map<std::string, std::pair<unsigned, unsigned>> places_;
};

/// One key of the file.
struct Setting {
  std::string_view key;
  bool live = false;  ///< takes effect by a reload
  std::function<void(Report&, const std::string& key, const Value&, Config&)> read;
  std::function<bool(const Config&, const Config&)> same;
};
const std::vector<Setting>& settings();

/// One key of [pool.base.NAME].
struct ProfileSetting {
  std::string_view key;
  std::function<void(Report&, const std::string& key, const Value&, ProfileConfig&)> read;
};
const std::vector<ProfileSetting>& profile_settings();

/// The key most like `key` among all keys, or empty: "pool.totl_warm" -> "total_warm", "socket" -> "server.socket".
std::string similar_key(std::string_view key);

/// What must hold between settings, and the files they name.
void check(Report& report, Config& config);

}  // namespace sandbox::server::schema
