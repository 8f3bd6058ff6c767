#include "server/store_records.hpp"

#include <simdjson.h>

#include "rest/json_writer.hpp"

namespace sandbox::server {
namespace {

using std::chrono::nanoseconds;

constexpr std::int64_t kApplicationId = 0x53424F58;  ///< "SBOX", in the file's header

/// One entry per version of the schema; applied from user_version on.
constexpr const char* kMigrations[] = {
    R"(CREATE TABLE sandboxes(
         id TEXT PRIMARY KEY, identity TEXT NOT NULL, profile TEXT NOT NULL, template TEXT NOT NULL, image TEXT NOT NULL,
         labels TEXT NOT NULL, ttl INTEGER NOT NULL, created INTEGER NOT NULL, state INTEGER NOT NULL,
         disconnected_at INTEGER, expires_at INTEGER, memory INTEGER NOT NULL, cpus REAL NOT NULL, tunnels TEXT NOT NULL,
         extra TEXT NOT NULL) WITHOUT ROWID;
       CREATE TABLE templates(
         id TEXT PRIMARY KEY, identity TEXT NOT NULL, label TEXT NOT NULL, image TEXT NOT NULL, backend TEXT NOT NULL,
         size INTEGER NOT NULL, created INTEGER NOT NULL, last_used INTEGER, profile TEXT NOT NULL, memory INTEGER NOT NULL,
         cpus REAL NOT NULL, extra TEXT NOT NULL) WITHOUT ROWID;
       CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;)",
};
constexpr std::int64_t kVersion = std::size(kMigrations);

std::int64_t time_number(WallTime time) { return std::chrono::duration_cast<nanoseconds>(time.time_since_epoch()).count(); }
WallTime time_of(std::int64_t number) {
  return WallTime(std::chrono::duration_cast<WallTime::duration>(nanoseconds(number)));
}
std::optional<std::int64_t> time_number(const std::optional<WallTime>& time) {
  return time ? std::optional(time_number(*time)) : std::nullopt;
}
std::optional<WallTime> time_at(const sqlite::Statement& row, int column) {
  return row.null(column) ? std::nullopt : std::optional(time_of(row.integer(column)));
}

std::string labels_text(const Labels& labels) {
  rest::JsonWriter json;
  json.begin_object();
  for (const auto& [key, value] : labels) json.member(key, value);
  json.end_object();
  return std::move(json).take();
}

std::string tunnels_text(const std::vector<StoredTunnel>& tunnels) {
  rest::JsonWriter json;
  json.begin_array();
  for (const StoredTunnel& tunnel : tunnels) {
    json.begin_object().member("port", std::uint32_t{tunnel.port}).member("host_port", std::uint32_t{tunnel.host_port}).end_object();
  }
  json.end_array();
  return std::move(json).take();
}

bool read_labels(simdjson::dom::parser& parser, const std::string& text, Labels& into) {
  simdjson::dom::object object;
  if (parser.parse(text).get(object) != simdjson::SUCCESS) return false;
  for (const auto field : object) {
    std::string_view value;
    if (field.value.get(value) != simdjson::SUCCESS) return false;
    into.emplace(std::string(field.key), std::string(value));
  }
  return true;
}

bool read_tunnels(simdjson::dom::parser& parser, const std::string& text, std::vector<StoredTunnel>& into) {
  simdjson::dom::array array;
  if (parser.parse(text).get(array) != simdjson::SUCCESS) return false;
  for (const auto item : array) {
    std::uint64_t port = 0, host_port = 0;
    if (item["port"].get(port) != simdjson::SUCCESS || item["host_port"].get(host_port) != simdjson::SUCCESS) return false;
    if (port == 0 || port > 65535 || host_port > 65535) return false;
    into.push_back({static_cast<std::uint16_t>(port), static_cast<std::uint16_t>(host_port)});
  }
  return true;
}

/// quick_check answers one row "ok", or what is wrong.
Result<void> check_health(sqlite::Database& database) {
  SANDBOX_TRY(auto check, database.prepare("PRAGMA quick_check(1)"));
  SANDBOX_TRY(const bool row, check.step());
  if (row && check.text(0) == "ok") return {};
  return Error(ErrorCode::corrupt, "the database is damaged: " + (row ? check.text(0) : "no answer"));
}

template <class Map>
void merge(Map& newer, Map&& older) {
  newer.merge(older);  // keeps what is there
}

}  // namespace

void PendingWrites::merge_older(PendingWrites&& older) {
  merge(sandboxes, std::move(older.sandboxes));
  merge(templates, std::move(older.templates));
  merge(meta, std::move(older.meta));
}

Result<Tables> Tables::prepare(sqlite::Database opened) {
  Tables tables(std::move(opened));
  sqlite::Database& database = tables.database_;
  SANDBOX_TRY(const std::int64_t application, database.number("PRAGMA application_id"));
  SANDBOX_TRY(std::int64_t version, database.number("PRAGMA user_version"));
  SANDBOX_TRY(const std::int64_t objects, database.number("SELECT count(*) FROM sqlite_master"));
  if (application != kApplicationId && (application != 0 || version != 0 || objects != 0)) {
    return Error(ErrorCode::failed_precondition, "the file is a database of another program");
  }
  if (version > kVersion) {
    return Error(ErrorCode::failed_precondition, "the database is of a newer sandboxd (version " + std::to_string(version) +
                                                     ", this one knows " + std::to_string(kVersion) + ")");
  }
  SANDBOX_CHECK(check_health(database));
  SANDBOX_CHECK(database.run("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA temp_store = MEMORY;"));
  for (; version < kVersion; ++version) {
    SANDBOX_CHECK(database.run("BEGIN IMMEDIATE; " + std::string(kMigrations[version]) + " PRAGMA application_id = " +
                               std::to_string(kApplicationId) + "; PRAGMA user_version = " + std::to_string(version + 1) + "; COMMIT"));
  }
  const auto statement = [&](std::optional<sqlite::Statement>& into, std::string_view sql) -> Result<void> {
    SANDBOX_TRY(into, database.prepare(sql));
    return {};
  };
  SANDBOX_CHECK(statement(tables.put_sandbox_, "INSERT OR REPLACE INTO sandboxes VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"));
  SANDBOX_CHECK(statement(tables.erase_sandbox_, "DELETE FROM sandboxes WHERE id = ?"));
  SANDBOX_CHECK(statement(tables.put_template_, "INSERT OR REPLACE INTO templates VALUES(?,?,?,?,?,?,?,?,?,?,?,?)"));
  SANDBOX_CHECK(statement(tables.erase_template_, "DELETE FROM templates WHERE id = ?"));
  SANDBOX_CHECK(statement(tables.put_meta_, "INSERT OR REPLACE INTO meta VALUES(?,?)"));
  return tables;
}

Result<void> Tables::write(const PendingWrites& writes) {
  SANDBOX_CHECK(database_.run("BEGIN IMMEDIATE"));
  auto written = write_all(writes);
  if (written) written = database_.run("COMMIT");
  if (!written) database_.run("ROLLBACK").ignore("the first failure is the one to tell; SQLite may have rolled back itself");
  return written;
}

Result<void> Tables::write_all(const PendingWrites& writes) {
  for (const auto& [id, sandbox] : writes.sandboxes) {
    SANDBOX_CHECK(sandbox ? put(*sandbox) : erase_sandbox_->bind(id).run());
  }
  for (const auto& [id, saved] : writes.templates) {
    SANDBOX_CHECK(saved ? put(*saved) : erase_template_->bind(id).run());
  }
  for (const auto& [key, value] : writes.meta) SANDBOX_CHECK(put_meta_->bind(key, value).run());
  return {};
}

Result<void> Tables::put(const StoredSandbox& one) {
  const std::string labels = labels_text(one.labels);
  const std::string tunnels = tunnels_text(one.tunnels);
  return put_sandbox_
      ->bind(one.id, one.identity, one.profile, one.template_id, one.image, labels, std::int64_t{one.ttl.count()},
             time_number(one.created), static_cast<std::int64_t>(one.state), time_number(one.disconnected_at),
             time_number(one.expires_at), static_cast<std::int64_t>(one.memory), one.cpus, tunnels, one.extra)
      .run();
}

Result<void> Tables::put(const StoredTemplate& one) {
  return put_template_
      ->bind(one.id, one.identity, one.label, one.image, one.backend, static_cast<std::int64_t>(one.size), time_number(one.created),
             time_number(one.last_used), one.profile, static_cast<std::int64_t>(one.memory), one.cpus, one.extra)
      .run();
}

Result<std::vector<StoredSandbox>> Tables::sandboxes(const std::function<void(const Error&)>& on_bad) {
  SANDBOX_TRY(auto row, database_.prepare("SELECT * FROM sandboxes ORDER BY id"));
  simdjson::dom::parser parser;
  std::vector<StoredSandbox> all;
  for (;;) {
    SANDBOX_TRY(const bool more, row.step());
    if (!more) return all;
    StoredSandbox one;
    one.id = row.text(0);
    one.identity = row.text(1);
    one.profile = row.text(2);
    one.template_id = row.text(3);
    one.image = row.text(4);
    one.ttl = std::chrono::seconds(row.integer(6));
    one.created = time_of(row.integer(7));
    one.state = static_cast<SandboxState>(row.integer(8));
    one.disconnected_at = time_at(row, 9);
    one.expires_at = time_at(row, 10);
    one.memory = static_cast<std::uint64_t>(row.integer(11));
    one.cpus = row.number(12);
    one.extra = row.text(14);
    const bool good = row.integer(8) >= 0 && row.integer(8) <= static_cast<std::int64_t>(SandboxState::stopped) &&
                      read_labels(parser, row.text(5), one.labels) && read_tunnels(parser, row.text(13), one.tunnels);
    if (good) all.push_back(std::move(one));
    else if (on_bad) on_bad(Error(ErrorCode::corrupt, "the record of sandbox " + one.id + " cannot be read"));
  }
}

Result<std::vector<StoredTemplate>> Tables::templates() {
  SANDBOX_TRY(auto row, database_.prepare("SELECT * FROM templates ORDER BY id"));
  std::vector<StoredTemplate> all;
  for (;;) {
    SANDBOX_TRY(const bool more, row.step());
    if (!more) return all;
    StoredTemplate one;
    one.id = row.text(0);
    one.identity = row.text(1);
    one.label = row.text(2);
    one.image = row.text(3);
    one.backend = row.text(4);
    one.size = static_cast<std::uint64_t>(row.integer(5));
    one.created = time_of(row.integer(6));
    one.last_used = time_at(row, 7);
    one.profile = row.text(8);
    one.memory = static_cast<std::uint64_t>(row.integer(9));
    one.cpus = row.number(10);
    one.extra = row.text(11);
    all.push_back(std::move(one));
  }
}

Result<std::optional<std::string>> Tables::meta(const std::string& key) {
  SANDBOX_TRY(auto row, database_.prepare("SELECT value FROM meta WHERE key = ?"));
  SANDBOX_TRY(const bool found, row.bind(key).step());
  return found ? std::optional(row.text(0)) : std::nullopt;
}

}  // namespace sandbox::server
