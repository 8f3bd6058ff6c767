#pragma once

#include <sqlite3.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <sandbox/result.hpp>

/// SQLite as RAII, as much as store.cpp needs. Not thread-safe.
namespace sandbox::server::sqlite {

class Statement;

class Database {
 public:
  /// Opens or creates. Error codes here and below: corrupt (damaged or no database), resource_exhausted (disk full),
  /// unavailable (locked, I/O, cannot open), internal (our SQL).
  static Result<Database> open(const std::string& path);
  Result<void> run(const std::string& sql);
  Result<Statement> prepare(std::string_view sql);
  /// The first column of the first row as a number, 0 when there is none.
  Result<std::int64_t> number(std::string_view sql);
  void set_busy_timeout(std::chrono::milliseconds time) { sqlite3_busy_timeout(handle_.get(), static_cast<int>(time.count())); }
  Error error(int code) const;

 private:
  struct Close {
    void operator()(sqlite3* handle) const noexcept { sqlite3_close_v2(handle); }
  };
  explicit Database(sqlite3* handle) : handle_(handle) {}
  std::unique_ptr<sqlite3, Close> handle_;
};

/// A prepared statement. bind() in order, then step() until it says there is no row; reset() before the next use.
class Statement {
 public:
  template <class... Values>
  Statement& bind(const Values&... values) {
    int index = 0;
    (bind_at(++index, values), ...);
    return *this;
  }
  /// True: there is a row. Errors: those of Database.
  Result<bool> step();
  /// Runs to its end and resets, for statements without rows; bound texts need to live until then.
  Result<void> run();

  std::string text(int column) const;
  std::int64_t integer(int column) const { return sqlite3_column_int64(handle_.get(), column); }
  double number(int column) const { return sqlite3_column_double(handle_.get(), column); }
  bool null(int column) const { return sqlite3_column_type(handle_.get(), column) == SQLITE_NULL; }

 private:
  friend class Database;
  struct Finalize {
    void operator()(sqlite3_stmt* handle) const noexcept { sqlite3_finalize(handle); }
  };
  explicit Statement(sqlite3_stmt* handle) : handle_(handle) {}
  void bind_at(int index, const std::string& text);
  void bind_at(int index, std::int64_t number) { sqlite3_bind_int64(handle_.get(), index, number); }
  void bind_at(int index, double number) { sqlite3_bind_double(handle_.get(), index, number); }
  void bind_at(int index, const std::optional<std::int64_t>& number) {
    if (number) bind_at(index, *number);
    else sqlite3_bind_null(handle_.get(), index);
  }
  std::unique_ptr<sqlite3_stmt, Finalize> handle_;
};

}  // namespace sandbox::server::sqlite
