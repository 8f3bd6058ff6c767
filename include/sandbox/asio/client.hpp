#pragma once

#include <sandbox/asio.hpp>
#include <sandbox/client.hpp>

/// The completion-token forms of Client; what <sandbox/asio.hpp> says holds here, too.
namespace sandbox::detail {

boost::asio::any_io_executor executor_of(client::ClientState& state);
Canceller start_remote_create(const std::shared_ptr<client::ClientState>& state, CreateRequest request, CreateOptions options,
                              Completion<Sandbox> completion);

}  // namespace sandbox::detail

namespace sandbox {

/// Completes with void(Result<Sandbox>). Cancelled before the daemon answered, what it made nevertheless is destroyed.
template <class Token>
auto Client::async_create(CreateRequest request, CreateOptions options, Token&& token) {
  return detail::initiate<Sandbox>(
      detail::executor_of(*state_),
      [state = state_, wanted = std::move(request), options](auto completion) mutable {
        return detail::start_remote_create(state, std::move(wanted), options, std::move(completion));
      },
      std::forward<Token>(token));
}

template <class Token>
auto Client::async_create(CreateRequest request, Token&& token) {
  return async_create(std::move(request), CreateOptions(), std::forward<Token>(token));
}

}  // namespace sandbox
