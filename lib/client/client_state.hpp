#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <sandbox/client.hpp>

#include "aio/reactor.hpp"
#include "aio/worker_threads.hpp"
#include "core/clock.hpp"
#include "driver/box.hpp"
#include "http/client.hpp"
#include "link/link.hpp"

namespace sandbox::client {

/// What a Client and the sandboxes it gave out share: the connections to the daemon, the background thread, who we are.
/// Thread-safe; lives as long as the last of them.
class ClientState : public std::enable_shared_from_this<ClientState> {
 public:
  static Result<std::shared_ptr<ClientState>> open(const std::string& endpoint, ClientOptions options);
  ~ClientState();

  const ClientOptions& options() const noexcept { return options_; }
  aio::Reactor& reactor() noexcept { return reactor_; }
  http::Client& http() noexcept { return *http_; }
  /// Now plus the time for a request that names none.
  core::TimePoint usual_deadline() const { return core::SteadyClock::now() + options_.timeout(); }

  /// One request: the body of a successful answer, or the Error that the daemon's answer means.
  /// `target` is percent-encoded and may have a query.
  /// `stop`: as of http::Client::request().
  Result<std::string> call(std::string method, const std::string& target, std::string body, core::TimePoint deadline,
                           const std::stop_token& stop = {});
  Result<std::string> get(const std::string& target) { return call("GET", target, {}, usual_deadline()); }
  /// Identity and token for a request. Errors: internal (no random bytes).
  Result<http::Headers> credentials(std::string_view method, std::string_view target) const;
  /// "/sandboxes/<id>" and what follows; the id is checked, so that it cannot be another path. Errors: invalid_argument.
  static Result<std::string> sandbox_path(const std::string& id, std::string_view rest = {});

  Result<std::shared_ptr<driver::Box>> create(const CreateRequest& request, const CreateOptions& options);
  /// Completes on a thread of this client. The returned function asks it to end: what is made nevertheless is destroyed.
  std::function<void()> async_create(CreateRequest request, CreateOptions options,
                                     std::function<void(Result<std::shared_ptr<driver::Box>>)> done);
  Result<std::shared_ptr<driver::Box>> attach(const std::string& id, const OpenOptions& options);
  /// The session with the agent of a sandbox, being connected.
  std::shared_ptr<link::Link> open_link(const std::string& id, bool sealed, std::optional<Fingerprint> pin);

  /// Later calls fail with failed_precondition. Sandboxes that are left keep their sessions.
  void close() noexcept { closed_.store(true); }
  Result<void> usable() const;

 private:
  ClientState(std::unique_ptr<http::Client> http, ClientOptions options);
  void dial(const std::string& id, bool sealed, std::optional<Fingerprint> known, core::TimePoint deadline, link::Reconnect::Done done);

  const ClientOptions options_;
  std::unique_ptr<http::Client> http_;
  std::atomic<bool> closed_{false};
  aio::Reactor reactor_;
  aio::WorkerThreads dialers_{"sbx-dial", 8};
  aio::WorkerThreads creators_{"sbx-create", 8};
};

}  // namespace sandbox::client
