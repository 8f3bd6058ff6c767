#include "server/events.hpp"

#include <algorithm>

#include "core/text.hpp"
#include "rest/rest.hpp"

namespace sandbox::server {

EventLog::EventLog(std::uint64_t last, std::size_t capacity) : ring_(std::max<std::size_t>(1, capacity)), last_(last) {}
EventLog::~EventLog() = default;

std::uint64_t EventLog::publish(std::string_view type, std::string_view sandbox_id, std::string_view identity, std::string data,
                                std::chrono::system_clock::time_point time) {
  ServiceEvent event;
  event.id = ++last_;
  event.type = std::string(type);
  event.sandbox_id = std::string(sandbox_id);
  event.identity = std::string(identity);
  event.time = time;
  event.data = std::move(data);
  ring_[last_ % ring_.size()] = {std::string(identity), rest::write(event)};  // written once, however many read it
  size_ = std::min(size_ + 1, ring_.size());
  for (Subscription* subscriber : subscribers_) {
    if (!subscriber->waiting_ || (!subscriber->identity_.empty() && subscriber->identity_ != identity)) continue;
    subscriber->waiting_ = false;
    subscriber->wake_();
  }
  return last_;
}

std::string EventLog::history(std::uint64_t after, std::uint64_t limit, std::string_view identity) const {
  // An id from the future is from another life of this daemon: something was missed.
  const bool complete = after <= last_ && after + 1 >= oldest();
  std::string events;
  std::uint64_t count = 0;
  if (after <= last_) {
    for (std::uint64_t id = std::max(after + 1, oldest()); id <= last_ && count < limit; ++id) {
      const Kept& kept = at(id);
      if (!identity.empty() && kept.identity != identity) continue;
      if (count++ > 0) events += ',';
      events += kept.json;
    }
  }
  return std::string(R"({"complete":)") + (complete ? "true" : "false") + R"(,"events":[)" + events + R"(],"seq":)" +
         std::to_string(last_) + "}";
}

std::unique_ptr<EventLog::Subscription> EventLog::subscribe(std::string identity, std::optional<std::uint64_t> after,
                                                            std::function<void()> wake) {
  if (subscribers_.size() >= kMaxSubscribers) return nullptr;
  const std::uint64_t next = std::min(after.value_or(last_), last_) + 1;
  auto made = std::unique_ptr<Subscription>(new Subscription(*this, std::move(identity), next, std::move(wake)));
  if (after && *after > last_) made->lost_after_ = *after;
  return made;
}

EventLog::Subscription::Subscription(EventLog& log, std::string identity, std::uint64_t next, std::function<void()> wake)
    : log_(log), identity_(std::move(identity)), next_(next), wake_(std::move(wake)) {
  place_ = log_.subscribers_.insert(log_.subscribers_.end(), this);
  waiting_ = false;  // until it found nothing to take
}

EventLog::Subscription::~Subscription() { log_.subscribers_.erase(place_); }

std::string EventLog::Subscription::take(std::size_t bytes) {
  std::string text;
  if (next_ < log_.oldest()) {
    if (!lost_after_) lost_after_ = next_ - 1;
    next_ = log_.oldest();
  }
  if (lost_after_) {
    text = "event: events.gap\ndata: {\"after_id\":" + std::to_string(*lost_after_) + R"(,"message":"some events were lost"})" "\n\n";
    lost_after_.reset();
  }
  for (; next_ <= log_.last_ && text.size() < bytes; ++next_) {
    const Kept& kept = log_.at(next_);
    if (!identity_.empty() && kept.identity != identity_) continue;
    text += "id: " + std::to_string(next_) + "\ndata: " + kept.json + "\n\n";
  }
  waiting_ = next_ > log_.last_;
  return text;
}

Result<HistoryQuery> read_history_query(std::optional<std::string_view> after, std::optional<std::string_view> limit) {
  // The number in front counts, as in the original: "12abc" is 12.
  const auto leading = [](std::string_view text) -> std::optional<std::int64_t> {
    const std::size_t first = !text.empty() && (text[0] == '-' || text[0] == '+') ? 1 : 0;
    const std::size_t end = std::min(text.find_first_not_of("0123456789", first), text.size());
    if (end == first) return std::nullopt;
    return core::parse_number<std::int64_t>(text.substr(text[0] == '+' ? 1 : 0, end - (text[0] == '+' ? 1 : 0)));
  };
  HistoryQuery query;
  if (after && !after->empty()) {
    const auto number = leading(*after);
    if (!number || *number < 0) {
      return Error(ErrorCode::invalid_argument, "invalid 'after' parameter — must be a numeric event ID");
    }
    query.after = static_cast<std::uint64_t>(*number);
  }
  if (limit && !limit->empty()) {
    const auto number = leading(*limit);
    if (!number || *number <= 0) return Error(ErrorCode::invalid_argument, "invalid 'limit' parameter");
    query.limit = std::min(static_cast<std::uint64_t>(*number), EventLog::kMaxHistory);
  }
  return query;
}

}  // namespace sandbox::server
