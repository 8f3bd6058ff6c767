#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

#include <sandbox/runtime.hpp>

namespace sandbox::server {

/// One key and value of a log line. Lives for the call.
class LogField {
 public:
  LogField(std::string_view key, std::string_view text) : key_(key), value_(text) {}
  LogField(std::string_view key, const char* text) : LogField(key, std::string_view(text)) {}
  LogField(std::string_view key, const std::string& text) : LogField(key, std::string_view(text)) {}
  LogField(std::string_view key, bool truth) : key_(key), value_(truth) {}
  LogField(std::string_view key, double number) : key_(key), value_(number) {}
  template <class Integer>
    requires(std::is_integral_v<Integer>)
  LogField(std::string_view key, Integer number) : key_(key), value_(static_cast<std::int64_t>(number)) {}
  std::string_view key() const noexcept { return key_; }
  const std::variant<std::string_view, bool, double, std::int64_t>& value() const noexcept { return value_; }

 private:
  std::string_view key_;
  std::variant<std::string_view, bool, double, std::int64_t> value_;
};

/// The daemon's log: one line each on stderr, as JSON {"time","level","msg",…} or as text. Written by a thread of its own
/// from a bounded queue, so that a stuck stderr holds nobody up; when the queue is full the oldest lines are dropped.
/// Guest and client text is safe to pass: control bytes are escaped. Thread-safe.
class Log {
 public:
  enum class Format : std::uint8_t { json, text };
  Log(LogLevel level, Format format);
  /// For tests: lines go to `descriptor` instead, which stays the caller's.
  Log(LogLevel level, Format format, int descriptor);
  /// Writes what is queued.
  ~Log();
  Log(const Log&) = delete;

  bool enabled(LogLevel level) const noexcept;
  void set_level(LogLevel level) noexcept;
  void write(LogLevel level, std::string_view message, std::initializer_list<LogField> fields = {});
  void debug(std::string_view message, std::initializer_list<LogField> fields = {}) { write(LogLevel::debug, message, fields); }
  void info(std::string_view message, std::initializer_list<LogField> fields = {}) { write(LogLevel::info, message, fields); }
  void warning(std::string_view message, std::initializer_list<LogField> fields = {}) { write(LogLevel::warning, message, fields); }
  void error(std::string_view message, std::initializer_list<LogField> fields = {}) { write(LogLevel::error, message, fields); }
  /// Returns when what was written before is out, or after a second: whoever reads stderr may be stuck.
  void flush();

  /// For RuntimeOptions::on_log. This log must outlive the runtime.
  LogCallback callback();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Sixteen hexadecimal digits that are unlikely to come again: names one request in log and reply.
std::string new_request_id();

}  // namespace sandbox::server
