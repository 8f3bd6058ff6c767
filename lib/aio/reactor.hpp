#pragma once

#include <memory>
#include <thread>

#include <boost/asio/io_context.hpp>

/// The one background thread of a runtime or client: timers, asynchronous completions, relays.
namespace sandbox::aio {

/// Runs an io_context on a thread of its own. stop() (or destruction) finishes the thread after its current handler.
class Reactor {
 public:
  Reactor();
  ~Reactor();
  boost::asio::io_context& context() noexcept;
  bool on_this_thread() const noexcept;
  void stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sandbox::aio
