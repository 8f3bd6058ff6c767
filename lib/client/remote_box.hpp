#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "client/client_state.hpp"
#include "driver/box.hpp"

namespace sandbox::client {

/// A sandbox behind a daemon. What touches it from outside is a request; the session has a link of its own. Thread-safe.
class RemoteBox final : public driver::Box {
 public:
  enum class Hold : std::uint8_t {
    owns,    ///< the sandbox ends with its handle
    visits,  ///< attached to: it goes on
  };
  /// `paused`: it stands still as this handle begins.
  RemoteBox(std::shared_ptr<ClientState> client, std::string id, SandboxSpec spec, std::vector<std::string> unenforced,
            std::shared_ptr<link::Link> link, Hold hold, bool paused = false);
  ~RemoteBox() override;

  const std::string& id() const noexcept override { return id_; }
  const SandboxSpec& spec() const noexcept override { return spec_; }
  const std::vector<std::string>& unenforced() const noexcept override { return unenforced_; }
  const std::shared_ptr<link::Link>& link() const noexcept override { return link_; }
  aio::Reactor& reactor() noexcept override { return client_->reactor(); }

  Result<void> usable() const override;
  Result<SandboxStats> stats() override;
  Result<void> pause() override;
  Result<void> resume() override;
  Result<TemplateInfo> save_template(std::string label) override;
  Result<int> connect(std::uint16_t port, std::chrono::milliseconds timeout) override;
  Result<ExposedPort> expose(std::uint16_t port, std::uint16_t host_port, std::chrono::milliseconds timeout,
                             const std::stop_token& stop = {}) override;
  Result<std::vector<ExposedPort>> exposed() override;
  Result<void> unexpose(std::uint16_t port) override;
  Result<void> close() override;
  bool closed() const noexcept override { return closed_.load(std::memory_order_acquire); }
  Result<void> detach() override;
  void handle_gone() noexcept override;

 private:
  /// A request about this sandbox. That the daemon does not know it any more means that it ended.
  Result<std::string> call(std::string method, std::string_view rest, std::string body, core::TimePoint deadline,
                           const std::stop_token& stop = {});
  Result<std::string> call(std::string method, std::string_view rest) { return call(std::move(method), rest, {}, client_->usual_deadline()); }
  Error gone() const;
  Result<void> open_for_requests() const;

  const std::shared_ptr<ClientState> client_;
  const std::string id_;
  const SandboxSpec spec_;
  const std::vector<std::string> unenforced_;
  const std::shared_ptr<link::Link> link_;
  const Hold hold_;
  std::atomic<bool> paused_;
  std::atomic<bool> closed_{false};
  std::mutex close_mutex_;  ///< one destruction at a time; the second caller waits for the first
  bool destroyed_ = false;  ///< under close_mutex_
};

}  // namespace sandbox::client
