#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include <sandbox/result.hpp>

#include "command.hpp"
#include "text.hpp"

/// What people read: tables, colours, times, errors.
namespace sbx {

/// Whether `fd` shows colours: a terminal that is not dumb, and NO_COLOR is not set (no-color.org).
bool has_colour(int fd);
/// Columns of the terminal behind `fd`; 100 when it is none.
std::size_t columns_of(int fd);

/// Rows under headings, aligned, two blanks between columns. Control bytes are shown as "\x1b": a label or an image name
/// comes from somebody else and must not drive the terminal.
class Table {
 public:
  enum class Align { left, right };
  struct Column {
    std::string heading;
    Align align = Align::left;
  };
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  void add(std::vector<std::string> cells);
  /// The heading row is bold when `colour`.
  std::string str(bool colour) const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

/// `text` with control bytes shown and not sent.
std::string printable(std::string_view text);
/// Columns that UTF-8 `text` takes: one per code point.
std::size_t display_width(std::string_view text);

/// "2026-11-21 12:34:56" in the local time zone, and "2026-11-21T12:34:56Z".
std::string local_time(std::chrono::system_clock::time_point time);
std::string utc_time(std::chrono::system_clock::time_point time);

/// Compact JSON with line breaks and two blanks per level; text that is no JSON comes out readable all the same.
std::string pretty_json(std::string_view compact);

/// One JSON value and a line feed on standard output.
void print_json(const Json& json);
/// Writes all of `text` to standard output. False when its reader left.
bool print(std::string_view text);

/// Tells why a command failed: a line on standard error (and what to do about it), with --json also {"error": …} on standard
/// output. Returns kFailure.
int fail(const Common& common, const sandbox::Error& error, std::string_view hint = {});

}  // namespace sbx
