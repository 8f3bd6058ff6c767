#include <utility>

#include "core/text.hpp"
#include "server/core.hpp"

/// GET /events, /events/history, /metrics.
namespace sandbox::server {
namespace {

constexpr auto kHeartbeat = std::chrono::seconds(15);
/// Beyond this much unsent, a reader is given nothing more until it has caught up.
constexpr std::size_t kFeedBacklog = 256 << 10;

/// One reader of the live events. Reactor thread only; kept by its connection.
class Feed : public std::enable_shared_from_this<Feed> {
 public:
  Feed(boost::asio::io_context& context, std::shared_ptr<http::BodyWriter> body) : timer_(context), body_(std::move(body)) {}

  void start(EventLog& log, std::string identity, std::optional<std::uint64_t> after) {
    auto& context = static_cast<boost::asio::io_context&>(timer_.get_executor().context());
    subscription_ = log.subscribe(std::move(identity), after, [weak = weak_from_this(), &context] {
      boost::asio::post(context, [weak] {
        if (const auto self = weak.lock()) self->pump();
      });
    });
    if (!subscription_) return;
    body_->on_closed([self = shared_from_this()] { self->stop(); });
    body_->on_drained([weak = weak_from_this()] {
      if (const auto self = weak.lock()) self->pump();
    });
    pump();
    beat();
  }
  bool subscribed() const noexcept { return subscription_ != nullptr; }

 private:
  void pump() {
    while (subscription_ && body_->queued_bytes() < kFeedBacklog) {
      const std::string text = subscription_->take();
      if (text.empty()) return;
      body_->write(text);
    }
  }
  void beat() {
    timer_.expires_after(kHeartbeat);
    timer_.async_wait([weak = weak_from_this()](boost::system::error_code error) {
      const auto self = weak.lock();
      if (error || !self || !self->subscription_) return;
      if (self->body_->queued_bytes() == 0) self->body_->write(": heartbeat\n\n");
      self->beat();
    });
  }
  void stop() {
    subscription_.reset();
    timer_.cancel();
  }

  boost::asio::steady_timer timer_;
  std::shared_ptr<http::BodyWriter> body_;
  std::unique_ptr<EventLog::Subscription> subscription_;
};

}  // namespace

void Core::events(const ExchangePtr& exchange, const Caller& caller) {
  const http::RequestHead& request = exchange->request();
  // A tenant sees its own; anybody else may ask for one.
  std::string identity = caller.identity.empty() ? request.query_value("identity").value_or("") : caller.identity;
  std::optional<std::uint64_t> after;
  if (const auto first = request.query_value("after"); first && !first->empty()) {
    const auto query = read_history_query(*first, std::nullopt);
    if (!query) return refuse(*exchange, 400, ErrorCode::invalid_argument, query.error().message());
    after = query->after;
  }
  // A browser's reconnection goes on where it was, whatever its address says. 0 has always meant: from now on.
  if (const std::string* id = request.headers.find("Last-Event-ID")) {
    if (const auto seen = core::parse_number<std::uint64_t>(*id); seen && *seen > 0) after = seen;
  }
  if (leaves_.events->subscribers() >= EventLog::kMaxSubscribers)
    return refuse(*exchange, 503, ErrorCode::resource_exhausted, "too many event subscribers", 2);
  http::Response head;
  head.headers = {{"Content-Type", "text/event-stream"}, {"Cache-Control", "no-cache"}};
  if (request.method == "HEAD") return exchange->respond(std::move(head));
  head.body = ": connected\n\n";  // so that a reader knows at once that it is heard
  auto body = exchange->stream(std::move(head));
  const auto feed = std::make_shared<Feed>(context(), body);
  feed->start(*leaves_.events, std::move(identity), after);
  if (!feed->subscribed()) body->abort();
}

void Core::event_history(http::Exchange& exchange, const Caller& caller) {
  const http::RequestHead& request = exchange.request();
  const auto after = request.query_value("after"), limit = request.query_value("limit");
  const auto view = [](const std::optional<std::string>& text) {
    return text ? std::optional<std::string_view>(*text) : std::nullopt;
  };
  const auto query = read_history_query(view(after), view(limit));
  if (!query) return refuse(exchange, 400, ErrorCode::invalid_argument, query.error().message());
  const std::string identity = caller.identity.empty() ? request.query_value("identity").value_or("") : caller.identity;
  answer(exchange, 200, leaves_.events->history(query->after, query->limit, identity));
}

void Core::metrics(http::Exchange& exchange) {
  Metrics::Now now;
  now.sandboxes = records_.size();
  for (const auto& [id, record] : records_) now.sessions += record->sessions.size();
  now.http_connections = connections_ ? connections_() : 0;
  now.pools = pools();
  http::Response response = http::text_response(200, leaves_.metrics->expose(now));
  response.headers.set("Content-Type", Metrics::kContentType);
  exchange.respond(std::move(response));
}

}  // namespace sandbox::server
