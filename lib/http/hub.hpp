#pragma once

#include <atomic>
#include <list>
#include <memory>
#include <span>
#include <string>

#include "http/server.hpp"

namespace sandbox::http {

class Carrier;

/// What the sockets of one server share. Reactor thread only, but for the counters.
struct Hub {
  Hub(boost::asio::io_context& on, ServerOptions with, Handler to) : context(on), options(with), handler(std::move(to)) {}

  boost::asio::io_context& context;
  const ServerOptions options;
  Handler handler;
  std::list<std::shared_ptr<Carrier>> carriers;  ///< keeps them alive until they close
  std::atomic<std::size_t> connections{0};
  std::atomic<std::size_t> websockets{0};
  bool draining = false;
  std::function<void()> on_empty;  ///< draining: the last carrier closed

  /// One buffer for every reader: valid until the handler that reads returns to the event loop, nothing read is left in it.
  std::span<std::byte> scratch();
  /// The Date header's value.
  const std::string& date();

 private:
  std::unique_ptr<std::byte[]> scratch_;
  std::string date_;
  std::int64_t date_of_ = 0;
};

}  // namespace sandbox::http
