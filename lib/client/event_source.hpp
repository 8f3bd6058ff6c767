#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "client/client_state.hpp"

namespace sandbox::client {

/// Cuts a text/event-stream (WHATWG HTML 9.2) into its events. Sans-I/O. Fields other than event, data and id are ignored.
class SseParser {
 public:
  struct Event {
    std::string type;  ///< of an "event:" line; empty: none
    std::string data;
    std::string id;
  };
  static constexpr std::size_t kMaxEvent = 1 << 20;
  /// Errors: protocol (an event beyond kMaxEvent).
  Result<void> feed(std::string_view bytes, std::deque<Event>& events);

 private:
  void line(std::string_view text, std::deque<Event>& events);
  std::string line_;
  bool carriage_return_ = false;  ///< a line feed that follows belongs to it
  Event event_;
  bool any_ = false;
};

/// What an EventStream stands on: the daemon's event stream, connected again where it broke.
class EventSource {
 public:
  /// `after`: the last event that is known already; nothing: from now on.
  static Result<std::unique_ptr<EventSource>> open(std::shared_ptr<ClientState> client, std::optional<std::uint64_t> after);
  Result<std::optional<ServiceEvent>> next(core::TimePoint deadline);
  bool gap() const noexcept { return gap_.load(); }
  void cancel() noexcept;

 private:
  explicit EventSource(std::shared_ptr<ClientState> client) : client_(std::move(client)) {}
  Result<void> connect(core::TimePoint deadline);
  Result<void> reconnect(Error why, core::TimePoint deadline);
  Result<std::optional<ServiceEvent>> take();

  const std::shared_ptr<ClientState> client_;
  SseParser parser_;
  std::deque<SseParser::Event> waiting_;
  std::optional<std::uint64_t> last_;
  std::atomic<bool> gap_{false};
  std::atomic<bool> cancelled_{false};
  std::mutex mutex_;  ///< stream_ against cancel()
  std::shared_ptr<http::ResponseStream> stream_;
};

}  // namespace sandbox::client
