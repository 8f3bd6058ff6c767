#include "http/carrier.hpp"

#include <algorithm>

#include <boost/asio/post.hpp>

namespace sandbox::http {
namespace {

constexpr std::size_t kPieces = 16;          ///< of the queue in one system call
constexpr std::size_t kMerge = 64 << 10;     ///< queued pieces are joined up to this size

std::size_t total(std::span<const iovec> pieces) noexcept {
  std::size_t sum = 0;
  for (const iovec& piece : pieces) sum += piece.iov_len;
  return sum;
}

}  // namespace

Carrier::Carrier(std::shared_ptr<Hub> hub, Transport transport)
    : hub_(std::move(hub)), transport_(std::move(transport)), descriptor_(hub_->context.get_executor()) {}

Carrier::~Carrier() {
  if (descriptor_.is_open()) descriptor_.release();  // the transport owns it
}

void Carrier::open() {
  boost::system::error_code error;
  descriptor_.assign(transport_.fd(), error);
  place_ = hub_->carriers.insert(hub_->carriers.end(), shared_from_this());
  open_ = true;
  if (is_client()) ++hub_->connections;
  progress_ = core::SteadyClock::now();
  if (error) {
    broken();
    return;
  }
  shake_hands();
}

void Carrier::shake_hands() {
  switch (transport_.handshake()) {
    case Transport::State::ok:
      ready_ = true;
      if (queued_ > 0) arm_write();
      on_open();
      return;
    case Transport::State::want_read:
      want_read();
      return;
    case Transport::State::want_write:
      arm_write();
      return;
    default:
      broken();
  }
}

void Carrier::leave() {
  open_ = false;
  if (is_client()) --hub_->connections;
  if (descriptor_.is_open()) descriptor_.release();
  hub_->carriers.erase(place_);
  if (hub_->draining && hub_->carriers.empty() && hub_->on_empty) hub_->on_empty();
}

void Carrier::close() {
  if (!open_) return;
  const auto self = shared_from_this();
  leave();
  transport_.close();
  queue_ = {};
  queued_ = 0;
}

void Carrier::hand_over_to(Carrier& next) {
  const auto self = shared_from_this();
  next.queue_ = std::move(queue_);
  next.first_ = first_;
  next.offset_ = offset_;
  next.queued_ = std::exchange(queued_, 0);
  // The next one joins the hub before this one leaves it, so that a draining server does not think itself empty.
  if (descriptor_.is_open()) descriptor_.release();
  next.transport_ = std::move(transport_);
  next.open();
  leave();
}

void Carrier::broken() {
  if (std::exchange(broken_, true)) return;
  boost::asio::post(hub_->context, [self = shared_from_this()] {
    if (self->open_) self->on_broken();
  });
}

void Carrier::want_read() {
  read_wanted_ = true;
  if (read_waiting_ || !open_) return;
  if (transport_.has_buffered()) {
    read_waiting_ = true;
    boost::asio::post(hub_->context, [self = shared_from_this()] { self->readable(); });
    return;
  }
  wait(true);
}

void Carrier::wait(bool to_read) {
  (to_read ? read_waiting_ : write_waiting_) = true;
  descriptor_.async_wait(to_read ? Descriptor::wait_read : Descriptor::wait_write,
                         [self = shared_from_this(), to_read](boost::system::error_code error) {
                           if (!to_read) {
                             self->write_waiting_ = false;
                             if (error || !self->open_) return;
                             return self->ready_ ? self->flush() : self->shake_hands();
                           }
                           if (error) {
                             self->read_waiting_ = false;
                             return;
                           }
                           self->readable();
                         });
}

void Carrier::readable() {
  read_waiting_ = false;
  if (!open_ || broken_) return;
  if (!std::exchange(read_wanted_, false)) return;
  if (!ready_) return shake_hands();
  on_readable();
}

void Carrier::arm_write() {
  if (!write_waiting_ && open_) wait(false);
}

std::size_t Carrier::send_now(std::span<const iovec> pieces) {
  if (!ready_ || queued_ > 0) return 0;
  const auto moved = transport_.write(pieces);
  if (moved.state == Transport::State::failed || moved.state == Transport::State::closed) broken();
  return moved.bytes;
}

void Carrier::append(std::string_view bytes) {
  if (bytes.empty()) return;
  // A queue that goes through TLS may grow at its end, but its first piece never shrinks or splits.
  if (queue_.size() > first_ && queue_.back().size() + bytes.size() <= kMerge) {
    queue_.back().append(bytes);
  } else {
    queue_.emplace_back(bytes);
  }
  queued_ += bytes.size();
}

void Carrier::append(std::string&& bytes) {
  if (bytes.size() <= kMerge / 16) return append(std::string_view(bytes));
  queued_ += bytes.size();
  queue_.push_back(std::move(bytes));
}

void Carrier::send(std::span<const iovec> pieces) {
  if (!open_ || broken_) return;
  std::size_t sent = send_now(pieces);
  if (broken_ || sent == total(pieces)) return;
  const bool was_empty = queued_ == 0;
  for (const iovec& piece : pieces) {
    const std::size_t skip = std::min(sent, piece.iov_len);
    sent -= skip;
    append(std::string_view(static_cast<const char*>(piece.iov_base) + skip, piece.iov_len - skip));
  }
  if (was_empty) {
    progress_ = core::SteadyClock::now();
    arm_write();
  }
}

void Carrier::send(std::string_view bytes) {
  const iovec one = piece(bytes);
  send(std::span(&one, 1));
}

void Carrier::send(std::string_view head, std::string&& body) {
  if (!open_ || broken_) return;
  const iovec pieces[] = {piece(head), piece(body)};
  std::size_t sent = send_now(pieces);
  if (broken_ || sent == head.size() + body.size()) return;
  const bool was_empty = queued_ == 0;
  if (sent < head.size()) {
    append(head.substr(sent));
    sent = 0;
  } else {
    sent -= head.size();
  }
  if (sent == 0) {
    append(std::move(body));
  } else if (was_empty && queue_.empty() && body.size() > kMerge) {
    queued_ += body.size() - sent;
    queue_.push_back(std::move(body));
    offset_ = sent;
  } else {
    append(std::string_view(body).substr(sent));
  }
  if (was_empty) {
    progress_ = core::SteadyClock::now();
    arm_write();
  }
}

void Carrier::flush() {
  if (broken_) return;
  while (queued_ > 0) {
    iovec pieces[kPieces];
    std::size_t count = 0, offered = 0;
    for (std::size_t i = first_; i < queue_.size() && count < kPieces; ++i) {
      std::string_view bytes = queue_[i];
      if (i == first_) bytes.remove_prefix(offset_);
      pieces[count++] = piece(bytes);
      offered += bytes.size();
    }
    const auto moved = transport_.write({pieces, count});
    if (moved.state == Transport::State::failed || moved.state == Transport::State::closed) return broken();
    if (moved.bytes > 0) progress_ = core::SteadyClock::now();
    queued_ -= moved.bytes;
    std::size_t left = moved.bytes;
    while (left > 0) {
      const std::size_t here = queue_[first_].size() - offset_;
      if (left < here) {
        offset_ += left;
        break;
      }
      left -= here;
      std::string().swap(queue_[first_++]);
      offset_ = 0;
    }
    if (first_ >= kPieces) {
      queue_.erase(queue_.begin(), queue_.begin() + static_cast<std::ptrdiff_t>(first_));
      first_ = 0;
    }
    if (moved.bytes < offered) return arm_write();
  }
  queue_ = {};
  first_ = offset_ = 0;
  on_drained();
}

}  // namespace sandbox::http
