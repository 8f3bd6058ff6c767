#pragma once

#include <functional>
#include <optional>
#include <string>

#include "http/carrier.hpp"
#include "http/parser.hpp"

namespace sandbox::http {

/// What a request body's reader is told; `error` is set for the last call if it did not end well.
struct BodyPiece {
  std::string_view bytes{};
  bool end = false;
  const Error* error = nullptr;
};

/// A client's connection while it speaks HTTP: one exchange at a time, then the next.
///
///   idle ─ first byte ─▶ head ─ complete ─▶ running ─ answered ─▶ flushing ─▶ skipping (rest of the body) ─▶ idle
///   any of them ─ malformed, too slow ─▶ lingering (answer sent, reads and drops) ─▶ closed
class Connection final : public Carrier {
 public:
  Connection(std::shared_ptr<Hub> hub, Transport transport, Peer peer);
  ~Connection() override;
  /// Before open(): answer whatever comes with 503 and close.
  void refuse() noexcept { refused_ = true; }

  // For the exchange numbered `serial`, while it is the current one; a later call finds nothing and does nothing.
  bool is_current(std::uint64_t serial) const noexcept { return is_open() && phase_ == Phase::running && serial == serial_; }
  void respond(Response response);
  /// Hands the body out piece by piece; pausing keeps the rest in the kernel.
  void read_body(std::function<void(const BodyPiece&)> sink);
  void pause_body(bool paused);
  bool expects_body() const noexcept { return !body_done_; }
  /// Writes a head for a body that follows by write_body(); returns whether that is chunked.
  void begin_answer(unsigned status, const Headers& headers, std::optional<std::uint64_t> length);
  void write_body(std::string_view bytes);
  void end_body();
  void abort();
  std::size_t queued_bytes() const noexcept { return queued(); }
  /// Gives socket and unread bytes to `next`, which speaks something else from now on.
  std::string upgrade_to(Carrier& next, unsigned status);
  /// Writes as it stands, outside any framing (a 101 head).
  void send_raw(std::string_view bytes) { send(bytes); }

  std::function<void(unsigned)> on_finished;
  std::function<void()> on_cancelled;
  std::function<void()> on_body_drained;  ///< of the answer
  std::function<void()> on_answer_broken;
  const Peer& peer() const noexcept { return *peer_; }
  const std::shared_ptr<const Peer>& shared_peer() const noexcept { return peer_; }
  Hub& hub() noexcept { return *hub_; }
  const std::shared_ptr<Hub>& shared_hub() const noexcept { return hub_; }

  void on_drain() override;
  void on_tick(core::TimePoint now) override;
  void on_broken() override;

 private:
  enum class Phase : std::uint8_t { idle, head, running, flushing, skipping, lingering };
  void on_open() override;
  void on_readable() override;
  void on_drained() override;

  void advance();
  bool step();
  bool parse_head();
  bool dispatch();
  bool skip_body();
  void answer_complete();
  bool after_flush();
  void feed_body();
  void tell_body(const BodyPiece& piece);
  void end_of_input();
  void refuse_with(unsigned status, std::string_view text);
  void linger();
  void finished();
  std::string_view unread() const noexcept { return std::string_view(inbox_).substr(taken_); }
  void take(std::size_t bytes);
  bool may_keep_alive() const noexcept;
  void deadline_in(core::Duration time) noexcept { deadline_ = core::SteadyClock::now() + time; }

  std::shared_ptr<const Peer> peer_;
  std::optional<Parser> parser_;
  std::string inbox_;        ///< received and not parsed yet, from taken_ on
  std::size_t taken_ = 0;
  std::function<void(const BodyPiece&)> sink_;
  core::TimePoint deadline_ = core::TimePoint::max();
  core::TimePoint body_since_{};
  std::uint64_t serial_ = 0, body_bytes_ = 0, skipped_ = 0;
  unsigned status_ = 0, minor_ = 1;
  Phase phase_ = Phase::idle;
  bool refused_ = false, keep_alive_ = true, is_head_ = false, expect_continue_ = false, body_done_ = true;
  bool body_paused_ = false, feeding_ = false, answering_ = false, answer_ended_ = false, chunked_ = false;
  bool no_body_allowed_ = false, input_ended_ = false, advancing_ = false, again_ = false;
};

/// Status line and header fields, with Date, Connection and the framing fields, which `headers` cannot override.
std::string response_head(Hub& hub, unsigned status, const Headers& headers, std::optional<std::uint64_t> length, bool chunked,
                          bool keep_alive);

}  // namespace sandbox::http
