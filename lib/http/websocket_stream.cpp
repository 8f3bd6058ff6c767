#include "http/websocket_stream.hpp"

#include <openssl/rand.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>

#include "http/client_connection.hpp"
#include "http/websocket_codec.hpp"

namespace sandbox::http {
namespace {

constexpr std::size_t kSide = 16 << 10;           ///< read-ahead behind the caller's buffer
constexpr std::uint64_t kMaxFrame = 256 << 10;    ///< payload of one frame we begin
constexpr std::size_t kMaskedPiece = 64 << 10;    ///< masked at a time over plain TCP
constexpr std::size_t kRecord = (16 << 10) - kMaxFrameHeader;  ///< payload in one TLS record

/// How payload gets onto the wire.
enum class Way : std::uint8_t {
  plain_key_zero,  ///< a unix socket. The mask protects intermediaries that might take payload for HTTP (RFC 6455 §10.3); there
                   ///< are none, so the key is zero, masking changes nothing, and the caller's bytes are sent as they stand.
  masked,          ///< TCP: a random key per frame, masked into a buffer
  record,          ///< TLS: one frame per record, because a record that was begun must be repeated as it is
};

class Stream final : public WebSocketStream {
 public:
  Stream(Transport transport, Way way, std::string subprotocol, std::string rest)
      : transport_(std::move(transport)), fd_(transport_.fd()), way_(way), subprotocol_(std::move(subprotocol)) {
    side_size_ = rest.size();
    side_capacity_ = std::max(kSide, rest.size());
    side_ = std::make_unique<std::byte[]>(side_capacity_);
    std::memcpy(side_.get(), rest.data(), rest.size());
  }

  Result<std::size_t> read_some(std::span<std::byte> buffer) override;
  Result<std::size_t> write_some(ByteView bytes) override;
  Result<bool> write_end() override;
  bool read_end() const noexcept override { return end_seen_; }
  bool pending() const noexcept override { return side_at_ < side_size_ || !decoded_.empty() || more_decrypted_; }
  int fd() const noexcept override { return fd_; }
  bool say_goodbye(std::uint16_t code, std::string_view reason) noexcept override;
  void shut_down() noexcept override {
    over_ = true;
    std::lock_guard lock(mutex_);
    if (transport_.is_open()) transport_.shut_down();
  }
  void close() noexcept override {
    over_ = true;
    std::lock_guard lock(mutex_);
    transport_.close();
  }
  std::uint16_t close_code() const noexcept override { return code_.load(); }
  std::string close_reason() const override {
    std::lock_guard lock(mutex_);
    return reason_;
  }
  const std::string& subprotocol() const noexcept override { return subprotocol_; }

 private:
  std::size_t from_side(std::span<std::byte> buffer);
  Result<bool> decode(std::span<std::byte>& input, std::span<std::byte>& payload);
  Result<std::size_t> receive(std::span<std::byte> buffer);
  Transport::Moved read_transport(std::span<const iovec> pieces);
  void queue_control(Opcode opcode, ByteView payload);
  void flush_control();
  bool flush_pending();
  bool between_frames() const noexcept { return frame_left_ == 0 && header_left_ == 0 && owed_ == 0 && !record_pending_; }
  Result<std::size_t> write_direct(ByteView bytes);
  Result<std::size_t> write_masked(ByteView bytes);
  Result<std::size_t> write_records(ByteView bytes);
  void begin_frame(std::uint64_t length);
  bool send_header();
  Error lost() const { return transport_.failure(); }
  static Error ended() { return Error(ErrorCode::unavailable, "the other end closed the connection").with_operation("http.websocket"); }

  Transport transport_;
  const int fd_;
  const Way way_;
  const std::string subprotocol_;
  std::atomic<std::uint16_t> code_{0};
  std::atomic<bool> over_{false};

  // The reader's.
  FrameDecoder decoder_{FrameDecoder::Role::client};
  std::unique_ptr<std::byte[]> side_;
  std::size_t side_capacity_ = 0, side_at_ = 0, side_size_ = 0;
  bool end_seen_ = false;        ///< an empty message came
  bool inside_message_ = false;  ///< a piece of a message came, not its last
  bool more_decrypted_ = false;  ///< TLS: the last read brought something, so there may be more inside
  std::span<std::byte> decoded_;  ///< payload inside side_ that the caller's buffer had no room for

  // The writer's, and everything of the transport over TLS, under the mutex: the reader answers pings.
  mutable std::mutex mutex_;
  std::string reason_;
  std::uint64_t frame_left_ = 0, frame_at_ = 0;  ///< payload of the frame begun: bytes to come, bytes gone
  MaskKey key_{};
  std::byte header_[kMaxFrameHeader];
  std::size_t header_at_ = 0, header_left_ = 0;
  std::unique_ptr<std::byte[]> out_;  ///< masked: scratch. record: the record that must be repeated
  std::size_t out_size_ = 0;
  std::size_t owed_ = 0;              ///< bytes of a repeated record that were not reported as written yet: 0 or 1
  bool record_pending_ = false, goodbye_ = false;
  std::string control_;               ///< control frames waiting for their turn
};

// -- reading -----------------------------------------------------------------------------------------------------------

Transport::Moved Stream::read_transport(std::span<const iovec> pieces) {
  if (way_ == Way::record) {
    std::lock_guard lock(mutex_);
    return transport_.read({static_cast<std::byte*>(pieces[0].iov_base), pieces[0].iov_len});
  }
  return transport_.read_pieces(pieces);
}

/// Decodes the next event of `input`; true with `payload` set for data, false when more is needed.
Result<bool> Stream::decode(std::span<std::byte>& input, std::span<std::byte>& payload) {
  while (!input.empty()) {
    const auto event = decoder_.next(input);
    using Type = FrameDecoder::Event::Type;
    switch (event.type) {
      case Type::none: return false;
      case Type::data:
        if (event.kind == MessageKind::text) {
          return Error(ErrorCode::protocol, "a text message in a byte stream").with_operation("http.websocket");
        }
        if (event.payload.empty() && event.message_end && !inside_message_) end_seen_ = true;
        inside_message_ = !event.message_end;
        if (event.payload.empty()) continue;
        payload = event.payload;
        return true;
      case Type::ping: queue_control(Opcode::pong, event.payload); continue;
      case Type::pong: continue;
      case Type::close: {
        {
          std::lock_guard lock(mutex_);
          reason_ = event.reason;
        }
        code_ = event.code;
        say_goodbye(event.code == close_code::kNoStatus ? close_code::kNormal : event.code, {});
        return ended();
      }
      case Type::error: {
        const std::string text(event.reason);
        say_goodbye(event.code, text);
        return Error(ErrorCode::protocol, "the server broke the WebSocket rules: " + text).with_operation("http.websocket");
      }
    }
  }
  return false;
}

std::size_t Stream::from_side(std::span<std::byte> buffer) {
  const std::size_t size = std::min(buffer.size(), decoded_.size());
  std::memcpy(buffer.data(), decoded_.data(), size);
  decoded_ = decoded_.subspan(size);
  return size;
}

Result<std::size_t> Stream::read_some(std::span<std::byte> buffer) {
  if (buffer.empty()) return std::size_t{0};
  std::size_t got = 0;
  for (;;) {
    if (!decoded_.empty()) {
      got += from_side(buffer.subspan(got));
      if (got == buffer.size()) return got;
    }
    if (side_at_ < side_size_) {
      if (over_) return ended();
      std::span<std::byte> input(side_.get() + side_at_, side_size_ - side_at_);
      auto more = decode(input, decoded_);
      side_at_ = side_size_ - input.size();
      if (!more) {
        if (got == 0) return std::move(more).error();
        more.error().ignore("said again by the next call");
        side_at_ = side_size_ = 0;
        over_ = true;
        return got;
      }
      continue;
    }
    if (got > 0) return got;
    if (over_) return ended();
    SANDBOX_TRY(const std::size_t direct, receive(buffer));
    if (direct > 0) return direct;
    if (side_at_ == side_size_) return std::size_t{0};
  }
}

/// One read: the rest of the current frame straight into `buffer`, what follows it into side_. Returns bytes in `buffer`.
Result<std::size_t> Stream::receive(std::span<std::byte> buffer) {
  {
    std::lock_guard lock(mutex_);
    flush_control();
  }
  const auto direct = static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), decoder_.data_remaining()));
  const bool whole = direct == decoder_.data_remaining();
  iovec pieces[2];
  std::size_t count = 0;
  if (direct > 0) pieces[count++] = {buffer.data(), direct};
  // Behind a piece of a frame that is not its end there is nothing to read ahead.
  if (direct == 0 || whole) pieces[count++] = {side_.get(), side_capacity_};
  side_at_ = side_size_ = 0;
  const auto moved = read_transport({pieces, count});
  more_decrypted_ = way_ == Way::record && moved.state == Transport::State::ok;
  switch (moved.state) {
    case Transport::State::ok: break;
    case Transport::State::want_read:
    case Transport::State::want_write: return std::size_t{0};
    default:
      over_ = true;
      code_ = close_code::kAbnormal;
      if (moved.state == Transport::State::closed) return ended();
      return lost();
  }
  const std::size_t here = std::min(direct, moved.bytes);
  side_size_ = moved.bytes - here;
  if (here == 0) return std::size_t{0};
  std::span<std::byte> input = buffer.first(here), payload;
  SANDBOX_TRY(const bool data, decode(input, payload));
  (void)data;
  return here;
}

// -- writing -----------------------------------------------------------------------------------------------------------

void Stream::queue_control(Opcode opcode, ByteView payload) {
  std::lock_guard lock(mutex_);
  if (goodbye_) return;
  // A server that pings and does not read: the latest answer stands for all (RFC 6455 §5.5.3).
  if (control_.size() > kSide) return;
  std::byte frame[kMaxFrameHeader + kMaxControlPayload];
  MaskKey key{};
  if (way_ != Way::plain_key_zero) RAND_bytes(reinterpret_cast<unsigned char*>(key.data()), sizeof key);
  const std::size_t size = encode_frame_header(opcode, payload.size(), key, frame);
  apply_mask(frame + size, payload, key, 0);
  control_.append(as_text({frame, size + payload.size()}));
  flush_control();
}

/// Sends waiting control frames if no frame is in the middle. Under the mutex.
void Stream::flush_control() {
  if (!transport_.is_open() || !flush_pending() || control_.empty() || !between_frames()) return;
  if (way_ == Way::record) {
    if (!out_) out_ = std::make_unique<std::byte[]>(kRecord + kMaxFrameHeader);
    out_size_ = std::min(control_.size(), kRecord);
    std::memcpy(out_.get(), control_.data(), out_size_);
    control_.erase(0, out_size_);
    record_pending_ = true;
    flush_pending();
    return;
  }
  const iovec all = {control_.data(), control_.size()};
  const auto moved = transport_.write({&all, 1});
  control_.erase(0, moved.bytes);
}

/// Finishes a TLS record that was begun; false: still blocked. Under the mutex.
bool Stream::flush_pending() {
  if (!record_pending_) return true;
  const iovec record = {out_.get(), out_size_};
  const auto moved = transport_.write({&record, 1});
  if (moved.bytes < out_size_) return false;
  record_pending_ = false;
  return true;
}

bool Stream::say_goodbye(std::uint16_t code, std::string_view reason) noexcept {
  std::array<std::byte, kMaxControlPayload> payload;
  const std::size_t size = encode_close(code, reason, payload);
  queue_control(Opcode::close, {payload.data(), size});
  std::lock_guard lock(mutex_);
  goodbye_ = true;
  return control_.empty() && !record_pending_;
}

Result<std::size_t> Stream::write_some(ByteView bytes) {
  if (bytes.empty()) return std::size_t{0};
  std::lock_guard lock(mutex_);
  if (goodbye_ || over_ || !transport_.is_open()) return ended();
  if (!control_.empty() && between_frames()) {
    flush_control();
    if (!control_.empty()) return std::size_t{0};  // it went out in part: nothing may come between
  }
  switch (way_) {
    case Way::plain_key_zero: return write_direct(bytes);
    case Way::masked: return write_masked(bytes);
    case Way::record: return write_records(bytes);
  }
  return std::size_t{0};
}

Result<bool> Stream::write_end() {
  std::lock_guard lock(mutex_);
  if (goodbye_ || over_ || !transport_.is_open()) return ended();
  if (!flush_pending() || !between_frames()) return false;
  std::byte header[kMaxFrameHeader];
  MaskKey key{};
  if (way_ != Way::plain_key_zero) RAND_bytes(reinterpret_cast<unsigned char*>(key.data()), sizeof key);
  control_.append(as_text({header, encode_frame_header(Opcode::binary, 0, key, header)}));
  flush_control();
  return true;
}

void Stream::begin_frame(std::uint64_t length) {
  frame_left_ = length;
  frame_at_ = 0;
  if (way_ != Way::plain_key_zero) RAND_bytes(reinterpret_cast<unsigned char*>(key_.data()), sizeof key_);
  header_at_ = 0;
  header_left_ = encode_frame_header(Opcode::binary, length, key_, header_);
}

/// Header and payload leave in one call; payload bytes that did not fit are the caller's to offer again.
Result<std::size_t> Stream::write_direct(ByteView bytes) {
  std::size_t done = 0;
  while (done < bytes.size()) {
    if (frame_left_ == 0 && header_left_ == 0) begin_frame(std::min<std::uint64_t>(kMaxFrame, bytes.size() - done));
    const auto part = static_cast<std::size_t>(std::min<std::uint64_t>(frame_left_, bytes.size() - done));
    const iovec pieces[] = {{header_ + header_at_, header_left_}, {const_cast<std::byte*>(bytes.data()) + done, part}};
    const auto moved = transport_.write(pieces);
    if (moved.state == Transport::State::failed) return lost();
    const std::size_t of_header = std::min(moved.bytes, header_left_);
    header_at_ += of_header;
    header_left_ -= of_header;
    done += moved.bytes - of_header;
    frame_left_ -= moved.bytes - of_header;
    if (moved.bytes - of_header < part) break;
  }
  return done;
}

/// Masks again what did not fit the last time: rare, and nothing must be remembered that the caller may yet replace.
Result<std::size_t> Stream::write_masked(ByteView bytes) {
  if (!out_) out_ = std::make_unique<std::byte[]>(kMaskedPiece);
  std::size_t done = 0;
  while (done < bytes.size()) {
    if (frame_left_ == 0 && header_left_ == 0) begin_frame(std::min<std::uint64_t>(kMaxFrame, bytes.size() - done));
    const auto part = static_cast<std::size_t>(std::min<std::uint64_t>({frame_left_, bytes.size() - done, kMaskedPiece}));
    apply_mask(out_.get(), bytes.subspan(done, part), key_, frame_at_);
    const iovec pieces[] = {{header_ + header_at_, header_left_}, {out_.get(), part}};
    const auto moved = transport_.write(pieces);
    if (moved.state == Transport::State::failed) return lost();
    const std::size_t of_header = std::min(moved.bytes, header_left_);
    const std::size_t of_payload = moved.bytes - of_header;
    header_at_ += of_header;
    header_left_ -= of_header;
    done += of_payload;
    frame_at_ += of_payload;
    frame_left_ -= of_payload;
    if (of_payload < part) break;
  }
  return done;
}

/// A record that OpenSSL has begun is on its way, all of it. Were it reported as written and nothing followed, nobody would
/// finish it; so its last byte stays unreported, the caller comes back with it, and the record is finished then.
Result<std::size_t> Stream::write_records(ByteView bytes) {
  std::size_t done = 0;
  if (!flush_pending()) return std::size_t{0};
  done += std::exchange(owed_, 0);
  if (!out_) out_ = std::make_unique<std::byte[]>(kRecord + kMaxFrameHeader);
  while (done < bytes.size()) {
    const std::size_t part = std::min(kRecord, bytes.size() - done);
    begin_frame(part);
    std::memcpy(out_.get(), header_, header_left_);
    apply_mask(out_.get() + header_left_, bytes.subspan(done, part), key_, 0);
    out_size_ = std::exchange(header_left_, 0) + part;
    frame_left_ = 0;
    const iovec record = {out_.get(), out_size_};
    const auto moved = transport_.write({&record, 1});
    if (moved.state == Transport::State::failed) return lost();
    if (moved.bytes < out_size_) {
      record_pending_ = true;
      owed_ = 1;
      return done + part - 1;
    }
    done += part;
  }
  return done;
}

}  // namespace

std::unique_ptr<WebSocketStream> make_websocket_stream(Transport transport, bool local, std::string subprotocol, std::string rest) {
  const Way way = transport.is_tls() ? Way::record : local ? Way::plain_key_zero : Way::masked;
  return std::make_unique<Stream>(std::move(transport), way, std::move(subprotocol), std::move(rest));
}

}  // namespace sandbox::http
