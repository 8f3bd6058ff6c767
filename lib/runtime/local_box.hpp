#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "backend/backend.hpp"
#include "driver/box.hpp"
#include "runtime/port_relay.hpp"

namespace sandbox::runtime {

struct Profile;

}  // namespace sandbox::runtime

namespace sandbox {
class RuntimeState;
}

namespace sandbox::runtime {

/// A sandbox of this process. Made by RuntimeState with its handshake done and its confinement verified. Thread-safe.
class LocalBox final : public driver::Box, public std::enable_shared_from_this<LocalBox> {
 public:
  enum class Phase : std::uint8_t {
    making,   ///< not yet in a pool or handed out
    warm,     ///< in its pool
    live,     ///< handed out
    lost,     ///< ended by itself (before or after it was handed out); what it held is being or has been freed
    closed,
  };

  /// `token` names it in the runtime's registry and exit monitor.
  LocalBox(std::shared_ptr<RuntimeState> runtime, std::shared_ptr<Profile> profile, std::uint64_t token, std::string id,
           std::shared_ptr<backend::Instance> instance, std::shared_ptr<link::Link> link);
  ~LocalBox() override;

  const std::string& id() const noexcept override { return id_; }
  const SandboxSpec& spec() const noexcept override;
  const std::vector<std::string>& unenforced() const noexcept override { return unenforced_; }
  const std::shared_ptr<link::Link>& link() const noexcept override { return link_; }
  aio::Reactor& reactor() noexcept override;

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
  /// Whether something listens on `port` inside; no connection is made. May block for a round trip to a launcher.
  Result<bool> listening(std::uint16_t port);
  Result<void> close() override;
  bool closed() const noexcept override { return phase() == Phase::closed; }

  Phase phase() const noexcept { return phase_.load(std::memory_order_acquire); }
  /// Changes of phase other than to closed happen under the runtime's lock.
  void set_phase(Phase phase) noexcept { phase_.store(phase, std::memory_order_release); }
  std::uint64_t token() const noexcept { return token_; }
  /// Given to a caller. Under the runtime's lock.
  void hand_out() noexcept {
    handed_out_ = true;
    set_phase(Phase::live);
  }
  bool handed_out() const noexcept { return handed_out_; }
  /// Under the runtime's lock; null once the box was released, so that a closed handle does not hold an image in use.
  const std::shared_ptr<Profile>& profile() const noexcept { return profile_; }
  [[nodiscard]] std::shared_ptr<Profile> forget_profile() noexcept { return std::move(profile_); }

  /// Before it is handed out: it was taken over frozen, and its agent is greeted by the first resume().
  void adopt_paused() noexcept {
    ungreeted_ = true;
    paused_.store(true, std::memory_order_release);
  }
  /// Tells the backend what the next process needs to know of it. Errors: those of Instance::commit().
  Result<void> commit(std::string_view record);
  /// Like close(), but the sandbox goes on without us.
  Result<void> leave_behind();
  bool left() const noexcept { return left_.load(std::memory_order_acquire); }

  /// It ended by itself while live (phase lost was set): finds out why, fails what goes on inside, frees everything.
  /// Returns the reason for people.
  std::string bury();

 private:
  std::shared_ptr<backend::Instance> instance() const;
  Error gone() const;
  /// What the backend answered; gone() if the sandbox ended or was closed meanwhile and the backend no longer knows it.
  template <class T>
  Result<T> answer(Result<T> outcome) const;
  Result<void> free_everything(const Error& why, bool destroy = true);
  Result<core::UniqueFd> dial(std::uint16_t port, core::TimePoint deadline);

  const std::shared_ptr<RuntimeState> runtime_;
  std::shared_ptr<Profile> profile_;  ///< under the runtime's lock
  const SandboxSpec spec_;
  const std::uint64_t token_;
  const std::string id_;
  const std::vector<std::string> unenforced_;
  const std::shared_ptr<link::Link> link_;
  std::atomic<Phase> phase_{Phase::making};
  std::atomic<bool> paused_{false};
  std::atomic<bool> left_{false};
  bool handed_out_ = false;  ///< under the runtime's lock

  std::mutex close_mutex_;  ///< one destruction at a time; the second caller waits for the first
  bool freed_ = false;      ///< under close_mutex_
  std::mutex freeze_mutex_; ///< pause, resume and saving one after the other
  bool ungreeted_ = false;  ///< under freeze_mutex_: taken over frozen

  mutable std::mutex mutex_;  ///< the rest; never held while anything blocks
  std::shared_ptr<backend::Instance> instance_;
  std::map<std::uint16_t, std::shared_ptr<PortRelay>> relays_;  ///< null while being opened
  std::string lost_reason_;
};

}  // namespace sandbox::runtime
