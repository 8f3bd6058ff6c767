#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "server/sqlite.hpp"
#include "server/store.hpp"

/// The tables of the store and what stands in them. Inside of the store only; not thread-safe.
namespace sandbox::server {

/// What is to be written: the last word on each object. An empty optional removes it.
struct PendingWrites {
  std::map<std::string, std::optional<StoredSandbox>> sandboxes;
  std::map<std::string, std::optional<StoredTemplate>> templates;
  std::map<std::string, std::string> meta;
  bool empty() const noexcept { return sandboxes.empty() && templates.empty() && meta.empty(); }
  /// Adds what `older` says about objects that this says nothing about.
  void merge_older(PendingWrites&& older);
};

class Tables {
 public:
  /// Makes or migrates the tables of an opened database. Errors: failed_precondition (not ours, or newer than this
  /// program), corrupt, and those of sqlite::Database.
  static Result<Tables> prepare(sqlite::Database database);

  /// All or nothing.
  Result<void> write(const PendingWrites& writes);
  Result<std::vector<StoredSandbox>> sandboxes(const std::function<void(const Error&)>& on_bad);
  Result<std::vector<StoredTemplate>> templates();
  Result<std::optional<std::string>> meta(const std::string& key);

 private:
  explicit Tables(sqlite::Database database) : database_(std::move(database)) {}
  Result<void> write_all(const PendingWrites& writes);
  Result<void> put(const StoredSandbox& sandbox);
  Result<void> put(const StoredTemplate& saved);

  sqlite::Database database_;  ///< before its statements
  std::optional<sqlite::Statement> put_sandbox_, erase_sandbox_, put_template_, erase_template_, put_meta_;
};

}  // namespace sandbox::server
