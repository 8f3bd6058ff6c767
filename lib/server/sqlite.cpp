#include "server/sqlite.hpp"

namespace sandbox::server::sqlite {
namespace {

Error error_of(sqlite3* handle, int code) {
  const std::string text = std::string("database: ") + (handle != nullptr ? sqlite3_errmsg(handle) : sqlite3_errstr(code));
  switch (code & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return Error(ErrorCode::corrupt, text);
    case SQLITE_FULL: return Error(ErrorCode::resource_exhausted, text);
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return Error(ErrorCode::unavailable, text).with_retry(Retry::after_backoff);
    case SQLITE_CANTOPEN:
    case SQLITE_IOERR:
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH: return Error(ErrorCode::unavailable, text);
    default: return Error(ErrorCode::internal, text);
  }
}

}  // namespace

Result<Database> Database::open(const std::string& path) {
  sqlite3* handle = nullptr;
  // The owner locks; the handle is used by one thread at a time.
  const int code = sqlite3_open_v2(path.c_str(), &handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  Database database(handle);
  if (code != SQLITE_OK) return error_of(handle, code);
  return database;
}

Error Database::error(int code) const { return error_of(handle_.get(), code); }

Result<void> Database::run(const std::string& sql) {
  if (const int code = sqlite3_exec(handle_.get(), sql.c_str(), nullptr, nullptr, nullptr); code != SQLITE_OK) return error(code);
  return {};
}

Result<Statement> Database::prepare(std::string_view sql) {
  sqlite3_stmt* statement = nullptr;
  const int code = sqlite3_prepare_v3(handle_.get(), sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
  if (code != SQLITE_OK) return error(code);
  return Statement(statement);
}

Result<std::int64_t> Database::number(std::string_view sql) {
  SANDBOX_TRY(Statement statement, prepare(sql));
  SANDBOX_TRY(const bool row, statement.step());
  return row ? statement.integer(0) : 0;
}

Result<bool> Statement::step() {
  const int code = sqlite3_step(handle_.get());
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  Error error = error_of(sqlite3_db_handle(handle_.get()), code);
  sqlite3_reset(handle_.get());
  return error;
}

Result<void> Statement::run() {
  for (;;) {
    SANDBOX_TRY(const bool row, step());
    if (!row) break;
  }
  sqlite3_reset(handle_.get());
  return {};
}

std::string Statement::text(int column) const {
  const auto* data = sqlite3_column_text(handle_.get(), column);
  return data == nullptr ? std::string() : std::string(reinterpret_cast<const char*>(data), static_cast<std::size_t>(sqlite3_column_bytes(handle_.get(), column)));
}

void Statement::bind_at(int index, const std::string& text) {
  // STATIC: the caller keeps the text until the statement has run.
  sqlite3_bind_text64(handle_.get(), index, text.data(), text.size(), SQLITE_STATIC, SQLITE_UTF8);
}

}  // namespace sandbox::server::sqlite
