#include "client/event_source.hpp"

#include <algorithm>
#include <thread>

#include "core/text.hpp"
#include "rest/rest.hpp"

namespace sandbox::client {
namespace {

constexpr auto kFirstPause = std::chrono::milliseconds(10);
constexpr auto kLongestPause = std::chrono::seconds(1);

}  // namespace

void SseParser::line(std::string_view text, std::deque<Event>& events) {
  if (text.empty()) {
    if (any_) {
      if (!event_.data.empty()) event_.data.pop_back();  // the line feed behind its last line
      events.push_back(std::move(event_));
    }
    event_ = {};
    any_ = false;
    return;
  }
  if (text.front() == ':') return;
  const auto colon = text.find(':');
  const std::string_view field = text.substr(0, colon);
  std::string_view value = colon == text.npos ? std::string_view() : text.substr(colon + 1);
  if (value.starts_with(' ')) value.remove_prefix(1);
  if (field == "data") {
    event_.data.append(value).push_back('\n');
    any_ = true;
  } else if (field == "event") {
    event_.type = value;
  } else if (field == "id") {
    event_.id = value;
  }
}

Result<void> SseParser::feed(std::string_view bytes, std::deque<Event>& events) {
  while (!bytes.empty()) {
    if (std::exchange(carriage_return_, false) && bytes.front() == '\n') {
      bytes.remove_prefix(1);
      continue;
    }
    const auto end = bytes.find_first_of("\r\n");
    line_ += bytes.substr(0, end);
    if (line_.size() + event_.data.size() > kMaxEvent) return Error(ErrorCode::protocol, "the daemon sent an event that is too long");
    if (end == bytes.npos) break;
    carriage_return_ = bytes[end] == '\r';
    bytes.remove_prefix(end + 1);
    line(line_, events);
    line_.clear();
  }
  return {};
}

Result<std::unique_ptr<EventSource>> EventSource::open(std::shared_ptr<ClientState> client, std::optional<std::uint64_t> after) {
  SANDBOX_CHECK(client->usable());
  std::unique_ptr<EventSource> source(new EventSource(std::move(client)));
  source->last_ = after;
  SANDBOX_CHECK(source->connect(source->client_->usual_deadline()));
  return source;
}

Result<void> EventSource::connect(core::TimePoint deadline) {
  http::Request request;
  // In the header 0 means none, from now on; in the query it means everything.
  request.target = last_ == 0 ? "/events?after=0" : "/events";
  SANDBOX_TRY(request.headers, client_->credentials("GET", request.target));
  request.headers.add("Accept", "text/event-stream");
  if (last_ && *last_ > 0) request.headers.add("Last-Event-ID", std::to_string(*last_));
  SANDBOX_TRY(std::shared_ptr<http::ResponseStream> stream, client_->http().open_stream(request, deadline));
  if (const unsigned status = stream->head().status; status != 200) {
    auto body = stream->read(deadline);
    std::string text = body ? *std::move(body) : (body.ignore("the status says enough"), std::string());
    return rest::read_error(static_cast<int>(status), text);
  }
  parser_ = {};
  std::lock_guard lock(mutex_);
  stream_ = std::move(stream);
  if (cancelled_.load()) stream_->cancel();
  return {};
}

Result<void> EventSource::reconnect(Error why, core::TimePoint deadline) {
  const auto window = core::SteadyClock::now() + client_->options().reconnect();
  for (core::Duration pause = kFirstPause;; pause = std::min<core::Duration>(pause * 2, kLongestPause)) {
    if (cancelled_.load()) return Error(ErrorCode::cancelled, "the event stream was cancelled");
    const auto now = core::SteadyClock::now();
    if (now >= window) return why;
    auto connected = connect(std::min(window, now + std::chrono::seconds(5)));
    if (connected) return why.ignore("connected again"), Result<void>();
    const auto code = connected.error().code();
    if (code != ErrorCode::unavailable && code != ErrorCode::deadline_exceeded) return connected;
    connected.ignore("tried again");
    if (core::SteadyClock::now() >= deadline) return Error(ErrorCode::deadline_exceeded, "not connected again yet");
    std::this_thread::sleep_for(std::min<core::Duration>(pause, std::max<core::Duration>(deadline - core::SteadyClock::now(), {})));
  }
}

/// The next whole event that is there already.
Result<std::optional<ServiceEvent>> EventSource::take() {
  while (!waiting_.empty()) {
    const SseParser::Event raw = std::move(waiting_.front());
    waiting_.pop_front();
    if (raw.type == "events.gap") {
      gap_.store(true);
      continue;
    }
    if (!raw.type.empty()) continue;
    SANDBOX_TRY(ServiceEvent event, rest::read_event(raw.data));
    // Subscribing comes before replaying, so an event may come twice; and a daemon that started anew counts from 1 again.
    if (last_ && event.id <= *last_) {
      if (event.id == 1 && *last_ > 1) gap_.store(true);
      else continue;
    }
    last_ = event.id;
    return std::optional<ServiceEvent>(std::move(event));
  }
  return std::optional<ServiceEvent>();
}

Result<std::optional<ServiceEvent>> EventSource::next(core::TimePoint deadline) {
  for (;;) {
    SANDBOX_TRY(std::optional<ServiceEvent> event, take());
    if (event) return event;
    if (cancelled_.load()) return Error(ErrorCode::cancelled, "the event stream was cancelled");
    std::shared_ptr<http::ResponseStream> stream;
    {
      std::lock_guard lock(mutex_);
      stream = stream_;
    }
    Result<std::string> bytes = Error(ErrorCode::unavailable, "the event stream ended");
    if (stream) {
      bytes.ignore("there is one");
      bytes = stream->read(deadline);
    }
    if (bytes && !bytes->empty()) {
      SANDBOX_CHECK(parser_.feed(*bytes, waiting_));
      continue;
    }
    if (!bytes && bytes.error().code() == ErrorCode::deadline_exceeded) return bytes.ignore("said by the empty answer"), std::optional<ServiceEvent>();
    if (!bytes && bytes.error().code() == ErrorCode::cancelled) return std::move(bytes).error();
    {
      std::lock_guard lock(mutex_);
      stream_.reset();
    }
    Error why = bytes ? Error(ErrorCode::unavailable, "the daemon ended the event stream") : std::move(bytes).error();
    auto again = reconnect(std::move(why), deadline);
    if (!again) {
      if (again.error().code() != ErrorCode::deadline_exceeded) return std::move(again).error();
      again.ignore("the caller's time is over first");
      return std::optional<ServiceEvent>();
    }
  }
}

void EventSource::cancel() noexcept {
  cancelled_.store(true);
  std::lock_guard lock(mutex_);
  if (stream_) stream_->cancel();
}

}  // namespace sandbox::client
