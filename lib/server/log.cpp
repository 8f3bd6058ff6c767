#include "server/log.hpp"

#include <spdlog/async.h>
#include <spdlog/async_logger.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <random>

#include "core/text.hpp"
#include "rest/json_writer.hpp"
#include "rest/rest.hpp"

namespace sandbox::server {
namespace {

constexpr std::size_t kQueue = 8192;  ///< lines waiting for stderr

std::string_view word(LogLevel level) {
  switch (level) {
    case LogLevel::debug: return "debug";
    case LogLevel::info: return "info";
    case LogLevel::warning: return "warning";
    case LogLevel::error: break;
  }
  return "error";
}

/// Whole lines to a descriptor. Nothing can be done about a broken one, least of all logging it.
class DescriptorSink : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit DescriptorSink(int descriptor) : descriptor_(descriptor) {}

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    const char* at = message.payload.data();
    for (std::size_t left = message.payload.size(); left > 0;) {
      const ssize_t count = ::write(descriptor_, at, left);
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) return;
      at += count;
      left -= static_cast<std::size_t>(count);
    }
  }
  void flush_() override {
    const std::lock_guard guard(flush_mutex_);
    ++flushed_;
    flush_done_.notify_all();
  }

 public:
  std::uint64_t flushed() {
    const std::lock_guard guard(flush_mutex_);
    return flushed_;
  }
  /// Until flush() was called more than `before` times.
  void wait_flushed(std::uint64_t before, std::chrono::milliseconds most) {
    std::unique_lock guard(flush_mutex_);
    flush_done_.wait_for(guard, most, [&] { return flushed_ > before; });
  }

 private:
  int descriptor_;
  std::mutex flush_mutex_;
  std::condition_variable flush_done_;
  std::uint64_t flushed_ = 0;
};

std::string json_line(LogLevel level, std::string_view message, std::initializer_list<LogField> fields) {
  rest::JsonWriter json;
  json.begin_object().member("time", rest::write_time(std::chrono::system_clock::now()));
  json.member("level", word(level)).member("msg", message);
  for (const LogField& field : fields) {
    json.key(field.key());
    std::visit([&](const auto& value) { json.value(value); }, field.value());
  }
  json.end_object();
  return std::move(json).take() + "\n";
}

std::string text_line(LogLevel level, std::string_view message, std::initializer_list<LogField> fields) {
  std::string line = rest::write_time(std::chrono::system_clock::now()) + " " + std::string(word(level)) + " " + core::escape_control(message);
  for (const LogField& field : fields) {
    line += " " + std::string(field.key()) + "=";
    std::visit(
        [&](const auto& value) {
          rest::JsonWriter one;  // quotes and escapes as JSON does: a value never looks like the next key
          line += std::move(one.value(value)).take();
        },
        field.value());
  }
  return line + "\n";
}

}  // namespace

struct Log::Impl {
  Impl(LogLevel least, Format format_, int descriptor)
      : level(least), format(format_), pool(std::make_shared<spdlog::details::thread_pool>(kQueue, 1)) {
    sink = std::make_shared<DescriptorSink>(descriptor);
    logger = std::make_shared<spdlog::async_logger>("sandboxd", sink, pool, spdlog::async_overflow_policy::overrun_oldest);
    logger->set_level(spdlog::level::trace);  // ours decides
  }
  std::atomic<LogLevel> level;
  const Format format;
  std::shared_ptr<spdlog::details::thread_pool> pool;  ///< its destruction writes what is queued
  std::shared_ptr<DescriptorSink> sink;
  std::shared_ptr<spdlog::async_logger> logger;
};

Log::Log(LogLevel level, Format format) : Log(level, format, STDERR_FILENO) {}
Log::Log(LogLevel level, Format format, int descriptor) : impl_(std::make_unique<Impl>(level, format, descriptor)) {}
Log::~Log() = default;

bool Log::enabled(LogLevel level) const noexcept { return level >= impl_->level.load(std::memory_order_relaxed); }
void Log::set_level(LogLevel level) noexcept { impl_->level = level; }

void Log::write(LogLevel level, std::string_view message, std::initializer_list<LogField> fields) {
  if (!enabled(level)) return;
  const std::string line = impl_->format == Format::json ? json_line(level, message, fields) : text_line(level, message, fields);
  impl_->logger->log(spdlog::level::info, spdlog::string_view_t(line.data(), line.size()));
}

void Log::flush() {
  const std::uint64_t before = impl_->sink->flushed();
  impl_->logger->flush();
  impl_->sink->wait_flushed(before, std::chrono::seconds(1));
}

LogCallback Log::callback() {
  return [this](LogLevel level, std::string_view message) { write(level, message, {{"component", "runtime"}}); };
}

std::string new_request_id() {
  // Not a secret, only distinct: a random start, counted up, mixed so that two daemons hardly meet.
  static std::atomic<std::uint64_t> next{(static_cast<std::uint64_t>(std::random_device()()) << 32) | std::random_device()()};
  std::uint64_t x = next.fetch_add(0x9E3779B97F4A7C15u, std::memory_order_relaxed);
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  x ^= x >> 31;
  return core::to_hex(&x, sizeof x);
}

}  // namespace sandbox::server
