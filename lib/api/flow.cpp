#include "api/flow.hpp"

#include <memory>
#include <utility>

namespace sandbox::api {
namespace {

using session::Channel;

/// What a source is asked to fill at a time: two DATA frames, few enough bytes to stay in the second-level cache.
constexpr std::size_t kPiece = 256 << 10;

class Upload final : public Call {
 public:
  using Call::Call;
  /// Queues what fits of `rest` and drops that from it. Under the lock.
  void send(ByteView& rest) { rest = rest.subspan(session().send(stream(), Channel::in, rest)); }
  void send_end() { session().send(stream(), Channel::in, {}, true); }
  Result<std::string> result() const {
    if (error()) return *error();
    return std::string(as_text(reply()));
  }
};

class Download final : public Call {
 public:
  using Call::Call;
  void on_data(Channel channel, ByteView data, bool) override {
    if (channel == Channel::out) arrived_.insert(arrived_.end(), data.begin(), data.end());
    else session().consumed(stream(), channel, data.size());
  }
  /// Moves what arrived to `piece` (empty before) and lets the agent send as much again. Under the lock.
  bool take(Bytes& piece) {
    if (!piece.empty()) return true;
    if (arrived_.empty()) return false;
    piece.swap(arrived_);
    if (!finished()) session().consumed(stream(), Channel::out, piece.size());
    return true;
  }
  Result<std::string> result() const {
    if (error()) return *error();
    return std::string(as_text(reply()));
  }

 private:
  Bytes arrived_;
};

/// Opens `call` now and gives it up on leaving, so that no way out leaves a handler behind.
class Opened {
 public:
  Opened(link::Link& link, Call& call) : link_(link), call_(call) {
    link_.with([&](session::Session& session) { call_.open(session); });
  }
  ~Opened() {
    link_.with([&](session::Session&) { call_.abandon(); });
  }
  Opened(const Opened&) = delete;

 private:
  link::Link& link_;
  Call& call_;
};

}  // namespace

Result<std::string> send_content(driver::Box& box, protocol::Method method, std::string params, const ByteSource& source) {
  SANDBOX_CHECK(may_block(box));
  link::Link& link = *box.link();
  Upload call(method, std::move(params));
  const Opened opened(link, call);
  const auto buffer = std::make_unique_for_overwrite<std::byte[]>(kPiece);
  bool ended = false;
  for (bool more = true; more && !ended;) {
    SANDBOX_TRY(const std::size_t filled, source(std::span(buffer.get(), kPiece)));
    if (filled > kPiece) return Error(ErrorCode::invalid_argument, "source: returned more bytes than the buffer holds");
    more = filled > 0;
    ByteView rest(buffer.get(), filled);
    // Ends early when the agent does: a full disk must not make us read the rest of a large source.
    SANDBOX_CHECK(link.wait_until(
        [&] {
          ended = call.finished();
          if (!ended && !rest.empty()) call.send(rest);
          return ended || rest.empty();
        },
        core::TimePoint::max()));
  }
  link.with([&](session::Session&) {
    if (!call.finished()) call.send_end();
  });
  SANDBOX_CHECK(link.wait_until([&] { return call.finished(); }, core::TimePoint::max()));
  return call.result();
}

Result<std::string> receive_content(driver::Box& box, protocol::Method method, std::string params, const ByteSink& sink) {
  SANDBOX_CHECK(may_block(box));
  link::Link& link = *box.link();
  Download call(method, std::move(params));
  const Opened opened(link, call);
  Bytes piece;
  for (;;) {
    SANDBOX_CHECK(link.wait_until([&] { return call.take(piece) || call.finished(); }, core::TimePoint::max()));
    if (piece.empty()) return call.result();
    SANDBOX_CHECK(sink(piece));
    piece.clear();
  }
}

}  // namespace sandbox::api
