#pragma once

#include <list>
#include <memory>
#include <string>
#include <vector>

#include <boost/asio/posix/basic_stream_descriptor.hpp>

#include "core/clock.hpp"
#include "http/hub.hpp"
#include "http/transport.hpp"

namespace sandbox::http {

/// A server-side socket on the event loop: waits until it is readable, sends now or queues. It holds no read buffer, and
/// no write buffer while nothing is queued. Registered with its hub from open() to close(). Reactor thread only.
class Carrier : public std::enable_shared_from_this<Carrier> {
 public:
  Carrier(std::shared_ptr<Hub> hub, Transport transport);
  virtual ~Carrier();
  Carrier(const Carrier&) = delete;

  /// Registers and, after a TLS handshake if there is one to do, calls on_open().
  void open();
  bool is_open() const noexcept { return open_; }
  /// Once, when the server wants to end: finish soon.
  virtual void on_drain() { close(); }
  /// About once a second, or faster when timeouts are short.
  virtual void on_tick(core::TimePoint now) = 0;
  /// Ends this carrier in whatever way tells its user; called at stop() and when the connection broke. Must close().
  virtual void on_broken() = 0;

 protected:
  virtual void on_open() = 0;
  /// Answer to one want_read().
  virtual void on_readable() = 0;
  /// The queue has become empty after something was queued.
  virtual void on_drained() = 0;

  /// Calls on_readable() once there is something to read. Asking again while waiting changes nothing.
  void want_read();
  bool waiting_to_read() const noexcept { return read_waiting_; }
  /// A wait that runs already ends without on_readable().
  void stop_reading() noexcept { read_wanted_ = false; }
  Transport::Moved read(std::span<std::byte> buffer) { return transport_.read(buffer); }

  void send(std::span<const iovec> pieces);
  void send(std::string_view bytes);
  /// `head` is copied if it cannot go at once, `body` is moved.
  void send(std::string_view head, std::string&& body);
  std::size_t queued() const noexcept { return queued_; }
  /// Since when the queue has not moved.
  core::TimePoint stuck_since() const noexcept { return progress_; }

  /// Drops the connection: no more callbacks, out of the hub's list. Keep a shared_ptr if you go on.
  void close();
  /// The peer stopped taking or broke: on_broken() follows from the event loop.
  void broken();
  void finish_sending() noexcept { transport_.finish_sending(); }
  /// Leaves the hub and gives socket and queue to another carrier, before its open().
  void hand_over_to(Carrier& next);
  /// Whether this counts as a client's connection.
  virtual bool is_client() const noexcept { return true; }

  const std::shared_ptr<Hub> hub_;
  Transport transport_;

 private:
  using Descriptor = boost::asio::posix::basic_stream_descriptor<boost::asio::io_context::executor_type>;
  void leave();
  void shake_hands();
  void wait(bool to_read);
  void readable();
  void flush();
  void append(std::string_view bytes);
  void append(std::string&& bytes);
  std::size_t send_now(std::span<const iovec> pieces);
  void arm_write();

  Descriptor descriptor_;
  std::list<std::shared_ptr<Carrier>>::iterator place_;
  std::vector<std::string> queue_;
  std::size_t first_ = 0, offset_ = 0, queued_ = 0;  ///< the queue begins in queue_[first_] at offset_
  core::TimePoint progress_{};
  bool open_ = false, ready_ = false, broken_ = false;
  bool read_waiting_ = false, read_wanted_ = false, write_waiting_ = false;
};

inline iovec piece(std::string_view bytes) noexcept { return {const_cast<char*>(bytes.data()), bytes.size()}; }
inline iovec piece(ByteView bytes) noexcept { return {const_cast<std::byte*>(bytes.data()), bytes.size()}; }

}  // namespace sandbox::http
