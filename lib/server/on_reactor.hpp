#pragma once

#include <future>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

namespace sandbox::server {

/// Runs `action` on the reactor thread, which is another one and runs, and waits for it.
template <class Action>
void on_reactor(boost::asio::io_context& context, Action action) {
  std::promise<void> done;
  auto finished = done.get_future();
  boost::asio::post(context, [&] {
    action();
    done.set_value();
  });
  finished.wait();
}

}  // namespace sandbox::server
