#include "http/connection.hpp"

#include <charconv>

#include "http/exchange.hpp"

namespace sandbox::http {
namespace {

constexpr std::size_t kSkip = 64 << 10;  ///< an unread body up to this size is skipped for keep-alive
constexpr auto kLinger = std::chrono::seconds(2);
/// A body must come at this rate at least, on top of body_timeout: bytes per second.
constexpr std::uint64_t kSlowest = 16 << 10;

bool bodiless(unsigned status) noexcept { return status < 200 || status == 204 || status == 304; }

}  // namespace

std::string response_head(Hub& hub, unsigned status, const Headers& headers, std::optional<std::uint64_t> length, bool chunked,
                          bool keep_alive) {
  std::string head;
  head.reserve(256);
  head.append("HTTP/1.1 ").append(std::to_string(status)).append(" ").append(reason_phrase(status)).append("\r\n");
  for (const auto& [name, value] : headers) {
    if (same_token(name, "Content-Length") || same_token(name, "Transfer-Encoding") || same_token(name, "Connection")) continue;
    if (valid_field(name, value)) head.append(name).append(": ").append(value).append("\r\n");
  }
  if (!headers.find("Date")) head.append("Date: ").append(hub.date()).append("\r\n");
  if (length) head.append("Content-Length: ").append(std::to_string(*length)).append("\r\n");
  if (chunked) head.append("Transfer-Encoding: chunked\r\n");
  if (headers.has_token("Connection", "upgrade")) {
    head.append("Connection: Upgrade\r\n");  // 426
  } else if (!keep_alive) {
    head.append("Connection: close\r\n");
  }
  head.append("\r\n");
  return head;
}

Connection::Connection(std::shared_ptr<Hub> hub, Transport transport, Peer peer)
    : Carrier(std::move(hub), std::move(transport)), peer_(std::make_shared<const Peer>(std::move(peer))) {
  deadline_in(hub_->options.header_timeout);
}

Connection::~Connection() = default;

void Connection::on_open() {
  if (refused_) return refuse_with(503, "too many connections\n");
  deadline_in(hub_->options.idle_timeout);
  advance();
}

void Connection::take(std::size_t bytes) {
  taken_ += bytes;
  if (taken_ == inbox_.size()) {
    std::string().swap(inbox_);
    taken_ = 0;
  }
}

void Connection::on_readable() {
  const auto buffer = hub_->scratch().first(kReadSize);
  const auto moved = read(buffer);
  switch (moved.state) {
    case Transport::State::ok: break;
    case Transport::State::closed: return end_of_input();
    case Transport::State::failed: return on_broken();
    default: return want_read();
  }
  if (phase_ == Phase::lingering) return want_read();
  inbox_.append(reinterpret_cast<const char*>(buffer.data()), moved.bytes);
  if (phase_ == Phase::running) {
    if (sink_) return feed_body();
    // Pipelined requests wait in the kernel beyond this.
    if (inbox_.size() < hub_->options.max_head) want_read();
    return;
  }
  advance();
}

void Connection::end_of_input() {
  input_ended_ = true;
  keep_alive_ = false;
  switch (phase_) {
    case Phase::idle:
    case Phase::skipping:
    case Phase::lingering: return close();
    case Phase::head: return refuse_with(400, "the request was cut off\n");
    case Phase::flushing: return;  // the answer still goes out
    case Phase::running: break;
  }
  const auto self = shared_from_this();
  if (!body_done_ && sink_) {
    const Error error(ErrorCode::unavailable, "the client went away");
    tell_body({.error = &error});
    error.ignore("told");
  }
  if (!is_open()) return;
  if (phase_ == Phase::running && answering_) return on_broken();  // nobody is left to read the rest
  // Only the sending side may have ended: an answer that is due still goes out, but nobody needs to begin one.
  if (phase_ == Phase::running && !answering_ && on_cancelled) std::exchange(on_cancelled, nullptr)();
}

void Connection::advance() {
  if (advancing_) {
    again_ = true;
    return;
  }
  const auto self = shared_from_this();
  advancing_ = true;
  do {
    again_ = false;
    while (is_open() && step()) {
    }
  } while (again_ && is_open());
  advancing_ = false;
}

/// One step forward; false: wait for an event.
bool Connection::step() {
  switch (phase_) {
    case Phase::idle:
    case Phase::head: return parse_head();
    case Phase::flushing: return queued() == 0 && after_flush();
    case Phase::skipping: return skip_body();
    case Phase::running:
    case Phase::lingering: return false;
  }
  return false;
}

bool Connection::parse_head() {
  if (unread().empty()) {
    if (hub_->draining && phase_ == Phase::idle) {
      close();
      return false;
    }
    want_read();
    return false;
  }
  if (!parser_) parser_.emplace(Parser::Kind::request, hub_->options.max_head);
  if (phase_ == Phase::idle) {
    phase_ = Phase::head;
    deadline_in(hub_->options.header_timeout);
  }
  const auto step = parser_->next(unread());
  take(step.used);
  switch (step.what) {
    case Parser::Step::What::need_more: want_read(); return false;
    case Parser::Step::What::head: return dispatch();
    default: refuse_with(step.status, std::string(step.problem) + "\n"); return false;
  }
}

bool Connection::dispatch() {
  RequestHead head = std::move(parser_->request());
  ++serial_;
  phase_ = Phase::running;
  deadline_ = core::TimePoint::max();
  status_ = 0;
  minor_ = head.minor;
  is_head_ = head.method == "HEAD";
  keep_alive_ = parser_->keep_alive() && !hub_->draining;
  body_done_ = !parser_->chunked() && parser_->content_length().value_or(0) == 0;
  expect_continue_ = !body_done_ && head.minor == 1 && head.headers.has_token("Expect", "100-continue");
  body_bytes_ = skipped_ = 0;
  body_paused_ = answering_ = answer_ended_ = chunked_ = no_body_allowed_ = false;
  if (body_done_) parser_.reset();
  hub_->handler(make_exchange(std::static_pointer_cast<Connection>(shared_from_this()), std::move(head), serial_));
  // To notice that the client goes away while the answer is worked on.
  if (is_open() && phase_ == Phase::running && body_done_ && !input_ended_ && unread().empty()) want_read();
  return phase_ != Phase::running;
}

void Connection::read_body(std::function<void(const BodyPiece&)> sink) {
  if (body_done_) return sink({.end = true});
  if (std::exchange(expect_continue_, false)) send("HTTP/1.1 100 Continue\r\n\r\n");
  sink_ = std::move(sink);
  body_since_ = core::SteadyClock::now();
  deadline_in(hub_->options.body_timeout);
  feed_body();
}

void Connection::pause_body(bool paused) {
  if (body_paused_ == paused) return;
  body_paused_ = paused;
  if (paused) {
    stop_reading();
    deadline_ = core::TimePoint::max();
  } else if (sink_ && !feeding_) {
    body_since_ = core::SteadyClock::now();
    body_bytes_ = 0;
    deadline_in(hub_->options.body_timeout);
    feed_body();
  }
}

void Connection::tell_body(const BodyPiece& piece) {
  if (piece.end || piece.error) {
    const auto sink = std::exchange(sink_, nullptr);
    deadline_ = core::TimePoint::max();
    if (sink) sink(piece);
  } else {
    const auto sink = sink_;  // it may replace itself
    sink(piece);
  }
}

void Connection::feed_body() {
  const auto self = shared_from_this();
  feeding_ = true;
  while (is_open() && sink_ && !body_paused_) {
    const auto step = parser_->next(unread());
    if (step.what == Parser::Step::What::body) {
      body_bytes_ += step.body.size();
      deadline_ = body_since_ + hub_->options.body_timeout + std::chrono::seconds(body_bytes_ / kSlowest);
      tell_body({.bytes = step.body});
      if (is_open()) take(step.used);
      continue;
    }
    take(step.used);
    if (step.what == Parser::Step::What::need_more) {
      want_read();
      break;
    }
    if (step.what == Parser::Step::What::end) {
      body_done_ = true;
      parser_.reset();
      tell_body({.end = true});
      if (is_open() && phase_ == Phase::running && unread().empty()) want_read();
      break;
    }
    keep_alive_ = false;
    const Error error(ErrorCode::protocol, std::string(step.problem));
    tell_body({.error = &error});
    error.ignore("told");
    break;
  }
  feeding_ = false;
  if (is_open() && phase_ != Phase::running) advance();
}

bool Connection::may_keep_alive() const noexcept {
  if (!keep_alive_ || hub_->draining || input_ended_) return false;
  if (body_done_) return true;
  // Whether the client still sends a body it asked leave for cannot be known.
  return !expect_continue_ && parser_ && parser_->remaining().value_or(kSkip + 1) <= kSkip;
}

void Connection::respond(Response response) {
  if (answering_) return;
  answering_ = true;
  status_ = response.status;
  sink_ = nullptr;
  keep_alive_ = may_keep_alive() && minor_ == 1;
  std::optional<std::uint64_t> length;
  if (!bodiless(status_)) length = response.body.size();
  const std::string head = response_head(*hub_, status_, response.headers, length, false, keep_alive_);
  if (is_head_ || bodiless(status_)) response.body.clear();
  send(head, std::move(response.body));
  answer_complete();
}

void Connection::begin_answer(unsigned status, const Headers& headers, std::optional<std::uint64_t> length) {
  answering_ = true;
  status_ = status;
  no_body_allowed_ = is_head_ || bodiless(status);
  chunked_ = !length && minor_ == 1 && !bodiless(status);
  keep_alive_ = may_keep_alive() && minor_ == 1;
  if (bodiless(status)) length.reset();
  send(response_head(*hub_, status, headers, length, chunked_, keep_alive_));
}

void Connection::write_body(std::string_view bytes) {
  if (bytes.empty() || no_body_allowed_ || answer_ended_) return;
  if (!chunked_) return send(bytes);
  char size[20];
  auto* end = std::to_chars(size, size + 16, bytes.size(), 16).ptr;
  *end++ = '\r';
  *end++ = '\n';
  const iovec pieces[] = {piece(std::string_view(size, static_cast<std::size_t>(end - size))), piece(bytes),
                          piece(std::string_view("\r\n"))};
  send(pieces);
}

void Connection::end_body() {
  if (answer_ended_) return;
  if (chunked_ && !no_body_allowed_) send("0\r\n\r\n");
  answer_complete();
}

void Connection::answer_complete() {
  answer_ended_ = true;
  sink_ = nullptr;
  on_body_drained = nullptr;
  on_answer_broken = nullptr;
  phase_ = Phase::flushing;
  if (!feeding_) advance();
}

bool Connection::after_flush() {
  finished();
  if (!is_open()) return false;
  if (!keep_alive_) {
    linger();
    return false;
  }
  phase_ = body_done_ ? Phase::idle : Phase::skipping;
  deadline_in(body_done_ ? hub_->options.idle_timeout : hub_->options.body_timeout);
  return true;
}

bool Connection::skip_body() {
  const auto step = parser_->next(unread());
  take(step.used);
  switch (step.what) {
    case Parser::Step::What::body:
      skipped_ += step.body.size();
      if (skipped_ <= kSkip) return true;
      break;
    case Parser::Step::What::end:
      body_done_ = true;
      parser_.reset();
      phase_ = Phase::idle;
      deadline_in(hub_->options.idle_timeout);
      return true;
    case Parser::Step::What::need_more: want_read(); return false;
    default: break;
  }
  linger();
  return false;
}

void Connection::finished() {
  on_cancelled = nullptr;
  on_body_drained = nullptr;
  on_answer_broken = nullptr;
  if (on_finished) std::exchange(on_finished, nullptr)(status_);
}

/// Ends the sending side and drops what still comes for a while: closing with unread input would reset the connection
/// and take the answer with it.
void Connection::linger() {
  if (input_ended_ || (body_done_ && unread().empty() && peer_->is_unix())) return close();
  phase_ = Phase::lingering;
  parser_.reset();
  std::string().swap(inbox_);
  taken_ = 0;
  finish_sending();
  deadline_in(kLinger);
  want_read();
}

void Connection::refuse_with(unsigned status, std::string_view text) {
  keep_alive_ = false;
  body_done_ = false;
  is_head_ = false;
  const Response response = text_response(status, std::string(text));
  send(response_head(*hub_, status, response.headers, response.body.size(), false, false), std::string(response.body));
  status_ = status;
  phase_ = Phase::flushing;
  advance();
}

void Connection::on_drained() {
  if (phase_ == Phase::running) {
    const auto handler = on_body_drained;
    if (handler) handler();
    return;
  }
  if (phase_ == Phase::flushing) advance();
}

void Connection::on_tick(core::TimePoint now) {
  if (queued() > 0 && now - stuck_since() > hub_->options.write_timeout) return on_broken();
  if (now < deadline_) return;
  deadline_ = core::TimePoint::max();
  switch (phase_) {
    case Phase::idle:
    case Phase::skipping:
    case Phase::lingering: return close();
    case Phase::head: return refuse_with(408, "the request took too long\n");
    case Phase::flushing: return;
    case Phase::running: {
      keep_alive_ = false;
      const auto self = shared_from_this();
      const Error error(ErrorCode::deadline_exceeded, "the request body took too long");
      if (sink_) tell_body({.error = &error});
      error.ignore("told");
    }
  }
}

void Connection::on_drain() {
  keep_alive_ = false;
  if (phase_ == Phase::idle || phase_ == Phase::skipping) close();
}

void Connection::on_broken() {
  const auto self = shared_from_this();
  const auto cancelled = std::exchange(on_cancelled, nullptr);
  const auto answer_broken = std::exchange(on_answer_broken, nullptr);
  const auto sink = std::exchange(sink_, nullptr);
  const bool began = answering_;
  close();
  if (sink) {
    const Error error(ErrorCode::unavailable, "the client went away");
    sink({.error = &error});
    error.ignore("told");
  }
  if (answer_broken) answer_broken();
  if (cancelled && !began) cancelled();
  finished();
}

void Connection::abort() {
  answer_ended_ = true;
  on_broken();
}

std::string Connection::upgrade_to(Carrier& next, unsigned status) {
  status_ = status;
  answering_ = true;
  on_cancelled = nullptr;
  on_answer_broken = nullptr;
  std::string rest(unread());
  std::string().swap(inbox_);
  taken_ = 0;
  hand_over_to(next);
  return rest;
}

}  // namespace sandbox::http
