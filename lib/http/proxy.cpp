#include <algorithm>
#include <cstdio>

#include "http/exchange.hpp"

namespace sandbox::http {
namespace {

constexpr std::size_t kHighWater = 1 << 20;  ///< queued bytes at which the other side is not read any more

bool hop_by_hop(const Headers& headers, std::string_view name) noexcept {
  for (const std::string_view known : {"Connection", "Proxy-Connection", "Keep-Alive", "Transfer-Encoding", "TE", "Trailer",
                                       "Upgrade", "Content-Length", "Proxy-Authenticate", "Proxy-Authorization", "Expect"}) {
    if (same_token(name, known)) return true;
  }
  return headers.has_token("Connection", name);
}

bool stripped(const std::vector<std::string>& strip, std::string_view name) noexcept {
  return std::any_of(strip.begin(), strip.end(), [&](std::string_view rule) {
    if (!rule.ends_with('*')) return same_token(rule, name);
    rule.remove_suffix(1);
    return name.size() >= rule.size() && same_token(name.substr(0, rule.size()), rule);
  });
}

/// After a 101: bytes from one socket to the other, whatever they mean. Two of them, each the other's peer.
class Relay final : public Carrier {
 public:
  Relay(std::shared_ptr<Hub> hub, core::Duration idle_limit, bool client, std::function<void(unsigned)> finished)
      : Carrier(std::move(hub), {}), idle_limit_(idle_limit), client_(client), finished_(std::move(finished)) {}

  static void join(const std::shared_ptr<Relay>& a, const std::shared_ptr<Relay>& b) {
    a->other_ = b;
    b->other_ = a;
  }
  void begin(std::string_view first_for_me) {
    if (!first_for_me.empty()) send(first_for_me);
    pull();
  }
  void on_tick(core::TimePoint now) override {
    const auto last = std::max(heard_, other_ ? other_->heard_ : heard_);
    if (now - last > idle_limit_) on_broken();
  }
  void on_broken() override {
    const auto self = shared_from_this();
    const auto other = std::exchange(other_, nullptr);
    close();
    if (other) other->on_broken();
    if (finished_) std::exchange(finished_, nullptr)(101);
  }

 private:
  bool is_client() const noexcept override { return client_; }
  void on_open() override {}
  void pull() {
    if (!input_ended_ && other_ && other_->queued() < kHighWater) want_read();
  }
  void on_readable() override {
    const auto self = shared_from_this();
    if (!other_) return;
    const auto buffer = hub_->scratch();
    const auto moved = read(buffer);
    if (moved.state == Transport::State::ok) {
      heard_ = core::SteadyClock::now();
      other_->send(as_text(buffer.first(moved.bytes)));
    } else if (moved.state == Transport::State::closed) {
      input_ended_ = true;
      if (other_->queued() == 0) other_->end();
      return;
    } else if (moved.state == Transport::State::failed) {
      return on_broken();
    }
    pull();
  }
  void on_drained() override {
    if (!other_) return;
    if (other_->input_ended_) return end();
    other_->pull();
  }
  /// All that the other side will ever send went out here.
  void end() {
    finish_sending();
    if (input_ended_ || !other_) on_broken();
  }

  const core::Duration idle_limit_;
  const bool client_;
  bool input_ended_ = false;
  core::TimePoint heard_ = core::SteadyClock::now();
  std::shared_ptr<Relay> other_;
  std::function<void(unsigned)> finished_;
};

/// The upstream socket of one forwarded request.
class Proxy final : public Carrier {
 public:
  Proxy(std::shared_ptr<Connection> client, std::uint64_t serial, core::UniqueFd upstream, ProxyOptions options)
      : Carrier(client->shared_hub(), Transport(std::move(upstream))),
        client_(std::move(client)),
        serial_(serial),
        options_(std::move(options)),
        parser_(Parser::Kind::response, kMaxResponseHead) {}

  void begin(const RequestHead& head);
  void on_tick(core::TimePoint now) override;
  void on_broken() override;
  void on_drain() override {}  // the client's connection decides

 private:
  bool is_client() const noexcept override { return false; }
  void on_open() override { want_read(); }
  void on_readable() override;
  void on_drained() override {
    if (live() && body_paused_) {
      body_paused_ = false;
      client_->pause_body(false);
    }
  }
  bool live() const noexcept { return client_ && client_->is_current(serial_); }
  void forward_body(const BodyPiece& piece);
  void parse(std::string_view input);
  bool answer_head();
  void become_relays(std::string_view rest);
  void fail();
  void done();
  void touch() noexcept { last_ = core::SteadyClock::now(); }
  std::shared_ptr<Proxy> self() { return std::static_pointer_cast<Proxy>(shared_from_this()); }

  std::shared_ptr<Connection> client_;
  const std::uint64_t serial_;
  ProxyOptions options_;
  Parser parser_;
  std::string inbox_;
  core::TimePoint last_ = core::SteadyClock::now();
  bool chunked_ = false, upgrade_ = false, head_sent_ = false, body_sent_ = false, body_paused_ = false, is_head_ = false;
};

void Proxy::begin(const RequestHead& head) {
  upgrade_ = head.headers.has_token("Connection", "upgrade") && head.headers.find("Upgrade") && !client_->expects_body();
  is_head_ = head.method == "HEAD";
  if (is_head_) parser_.expect_no_body();
  std::string out = head.method + " " + options_.target + " HTTP/1.1\r\n";
  const auto field = [&](std::string_view name, std::string_view value) {
    if (valid_field(name, value)) out.append(name).append(": ").append(value).append("\r\n");
  };
  for (const auto& [name, value] : head.headers) {
    if (hop_by_hop(head.headers, name) || stripped(options_.strip, name) || options_.add.find(name)) continue;
    field(name, value);
  }
  for (const auto& [name, value] : options_.add) field(name, value);
  if (!head.headers.find("Host") && !options_.add.find("Host")) field("Host", "localhost");
  const std::string* length = head.headers.find("Content-Length");
  if (length) field("Content-Length", *length);
  chunked_ = !length && client_->expects_body();
  if (chunked_) field("Transfer-Encoding", "chunked");
  if (upgrade_) {
    field("Connection", "Upgrade");
    for (const auto& [name, value] : head.headers) {
      if (same_token(name, "Upgrade")) field(name, value);
    }
  } else {
    field("Connection", "close");
  }
  out += "\r\n";
  open();
  if (!is_open()) return;
  send(out);
  const auto weak = std::weak_ptr<Carrier>(weak_from_this());
  client_->on_body_drained = [weak] {
    if (const auto proxy = std::static_pointer_cast<Proxy>(weak.lock()); proxy && proxy->is_open()) proxy->want_read();
  };
  client_->on_answer_broken = [weak] {
    if (const auto proxy = std::static_pointer_cast<Proxy>(weak.lock()); proxy && proxy->is_open()) proxy->done();
  };
  client_->on_cancelled = client_->on_answer_broken;
  client_->read_body([proxy = self()](const BodyPiece& piece) { proxy->forward_body(piece); });
}

void Proxy::forward_body(const BodyPiece& piece) {
  if (!is_open() || !live()) return;
  touch();
  if (piece.error) {
    if (head_sent_) {
      client_->abort();
    } else {
      client_->respond(text_response(piece.error->code() == ErrorCode::deadline_exceeded ? 408 : 400, "broken request body\n"));
    }
    return done();
  }
  if (!piece.bytes.empty()) {
    if (chunked_) {
      char size[20];
      const int digits = std::snprintf(size, sizeof size, "%zx\r\n", piece.bytes.size());
      const iovec pieces[] = {http::piece(std::string_view(size, static_cast<std::size_t>(digits))), http::piece(piece.bytes),
                              http::piece(std::string_view("\r\n"))};
      send(pieces);
    } else {
      send(piece.bytes);
    }
  }
  if (piece.end) {
    body_sent_ = true;
    if (chunked_) send("0\r\n\r\n");
  } else if (queued() > kHighWater) {
    body_paused_ = true;
    client_->pause_body(true);
  }
}

void Proxy::on_readable() {
  const auto keep = self();
  if (!live()) return done();
  const auto buffer = hub_->scratch().first(kReadSize);
  const auto moved = read(buffer);
  touch();
  if (moved.state == Transport::State::ok) {
    if (inbox_.empty()) {
      parse(as_text(buffer.first(moved.bytes)));
    } else {
      inbox_.append(as_text(buffer.first(moved.bytes)));
      parse(std::exchange(inbox_, {}));
    }
  } else if (moved.state == Transport::State::closed && head_sent_) {
    const auto step = parser_.end_of_input();
    if (step.what == Parser::Step::What::end) {
      client_->end_body();
    } else {
      client_->abort();
    }
    return done();
  } else if (moved.state == Transport::State::closed || moved.state == Transport::State::failed) {
    return fail();
  }
  if (!is_open()) return;
  if (client_->queued_bytes() < kHighWater) want_read();  // else when the client took it: on_body_drained
}

void Proxy::parse(std::string_view input) {
  while (is_open() && live()) {
    const auto step = parser_.next(input);
    input.remove_prefix(step.used);
    switch (step.what) {
      case Parser::Step::What::need_more: inbox_ = input; return;
      case Parser::Step::What::head:
        if (parser_.status() == 101) {
          return upgrade_ ? become_relays(input) : fail();
        }
        if (parser_.status() < 200) {  // an interim answer: the real one follows
          parser_ = Parser(Parser::Kind::response, kMaxResponseHead);
          if (is_head_) parser_.expect_no_body();
          continue;
        }
        if (!answer_head()) return;
        break;
      case Parser::Step::What::body: client_->write_body(step.body); break;
      case Parser::Step::What::end:
        client_->end_body();
        return done();
      case Parser::Step::What::error: return fail();
    }
  }
}

bool Proxy::answer_head() {
  Headers headers;
  for (const auto& [name, value] : parser_.headers()) {
    if (!hop_by_hop(parser_.headers(), name)) headers.add(name, value);
  }
  head_sent_ = true;
  client_->begin_answer(parser_.status(), headers, parser_.content_length());
  return is_open();
}

void Proxy::become_relays(std::string_view rest) {
  std::string head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n";
  for (const auto& [name, value] : parser_.headers()) {
    if (same_token(name, "Upgrade") || !hop_by_hop(parser_.headers(), name)) {
      if (valid_field(name, value)) head.append(name).append(": ").append(value).append("\r\n");
    }
  }
  head += "\r\n";
  auto near = std::make_shared<Relay>(hub_, options_.idle_limit, true, std::exchange(client_->on_finished, nullptr));
  auto far = std::make_shared<Relay>(hub_, options_.idle_limit, false, nullptr);
  client_->on_body_drained = nullptr;
  client_->send_raw(head);
  const std::string first = client_->upgrade_to(*near, 101);
  hand_over_to(*far);
  client_ = nullptr;
  Relay::join(near, far);
  far->begin(first);
  near->begin(rest);
}

/// Upstream is no use: the given answer if none began, else a broken one.
void Proxy::fail() {
  const auto keep = self();
  if (live()) {
    if (head_sent_) {
      client_->abort();
    } else {
      client_->on_cancelled = nullptr;
      client_->respond(options_.bad_gateway);
    }
  }
  done();
}

void Proxy::done() {
  const auto keep = self();
  const auto client = std::exchange(client_, nullptr);
  close();
}

void Proxy::on_broken() { fail(); }

void Proxy::on_tick(core::TimePoint now) {
  if (!live()) return done();
  if (!head_sent_ && body_sent_ && now - last_ > options_.head_timeout) return fail();
  if (now - last_ > options_.idle_limit) fail();
}

}  // namespace

void start_proxy(std::shared_ptr<Connection> connection, const RequestHead& head, std::uint64_t serial, core::UniqueFd upstream,
                 ProxyOptions options) {
  std::make_shared<Proxy>(std::move(connection), serial, std::move(upstream), std::move(options))->begin(head);
}

}  // namespace sandbox::http
