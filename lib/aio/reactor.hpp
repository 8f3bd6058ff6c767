#pragma once

#include <memory>
#include <thread>
#include <utility>

#include <sandbox/result.hpp>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

/// The one background thread of a runtime or client: timers, asynchronous completions, relays.
namespace sandbox::aio {

/// Runs an io_context on a thread of its own. stop() (or destruction) finishes the thread after its current handler.
/// Destroying it from one of its own handlers is allowed: the thread then ends by itself when that handler returns.
class Reactor {
 public:
  Reactor();
  ~Reactor();
  boost::asio::io_context& context() noexcept;
  bool on_this_thread() const noexcept;
  void stop();

  /// Runs `handler` on this reactor's thread, never inside this call; how completions reach their callers. After stop() a
  /// thread that lives only for that runs it: an operation on what was closed still ends.
  template <class Handler>
  void post(Handler&& handler) {
    boost::asio::post(context(), std::forward<Handler>(handler));
    wake_late();
  }

  /// An eventfd with which one thread gets another out of poll(2). Kept by the reactor between uses, so a wait costs no
  /// system call for it and a thousand sandboxes need no descriptor each. Thread-safe.
  class Wakeup {
   public:
    Wakeup() noexcept = default;
    Wakeup(Wakeup&& other) noexcept : pool_(std::move(other.pool_)), fd_(std::exchange(other.fd_, -1)) {}
    Wakeup& operator=(Wakeup&&) = delete;
    ~Wakeup();
    int fd() const noexcept { return fd_; }
    /// Makes fd() readable until drain().
    void wake() const noexcept;
    void drain() const noexcept;

   private:
    friend class Reactor;
    struct Pool;
    Wakeup(std::shared_ptr<Pool> pool, int fd) noexcept : pool_(std::move(pool)), fd_(fd) {}
    std::shared_ptr<Pool> pool_;
    int fd_ = -1;
  };
  /// Errors: resource_exhausted (descriptors).
  Result<Wakeup> wakeup();

 private:
  void wake_late();
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace sandbox::aio
