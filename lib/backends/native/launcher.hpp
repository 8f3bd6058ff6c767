#pragma once

#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include <sandbox/result.hpp>

#include "core/clock.hpp"
#include "core/unique_fd.hpp"
#include "launch/plan.hpp"
#include "os/process.hpp"

/// One sandbox-launcher and the conversation with it, for many threads at once. Whoever waits, reads: a thread blocked in
/// call() takes the reading role and hands other threads' replies to them, so a call costs no thread switch on this side.
namespace sandbox::native {

class Launcher : public std::enable_shared_from_this<Launcher> {
 public:
  /// Starts the process and configures it. Errors: what the launcher says cannot be done here (unsupported), spawn's.
  static Result<std::shared_ptr<Launcher>> start(int program, int agent, const launch::Configure& configure, core::TimePoint deadline);
  /// Takes over one that an earlier process left, by a `socket` connected to its rendezvous. Errors: already_exists
  /// (another process controls it), failed_precondition (it is of another build), unavailable (it is ending).
  static Result<std::shared_ptr<Launcher>> take_over(core::UniqueFd socket, int agent, const launch::Configure& configure,
                                                     core::TimePoint deadline);
  ~Launcher();
  Launcher(const Launcher&) = delete;

  const launch::Configured& facts() const noexcept { return facts_; }

  struct Answer {
    std::string body;
    std::vector<core::UniqueFd> fds;
  };
  /// Sends a request and waits for its reply. A create whose reply comes too late is destroyed when it arrives.
  /// Errors: the launcher's own; unavailable (it ended), deadline_exceeded.
  Result<Answer> call(launch::Kind kind, std::string body, core::TimePoint deadline, std::span<const int> fds = {});
  /// Sends a request that is not answered. Blocks at most a second. Errors: unavailable, deadline_exceeded (not sent).
  Result<void> try_tell(launch::Kind kind, std::string body);
  /// The same for what the launcher need not wake up for, as launch::Kind says. Blocks only when a hundred notes are unread.
  Result<void> try_note(launch::Kind kind, std::string body);
  /// The same where it does not matter: what is lost when the launcher is gone is less than that.
  void tell(launch::Kind kind, std::string body) { try_tell(kind, std::move(body)).ignore("lost with the launcher"); }
  /// Closes the control socket, which makes the launcher take everything away and end, and waits for that.
  void close(core::TimePoint deadline);
  /// Only closes the control socket: what was committed goes on.
  void leave();
  bool persistent = false;   ///< was told to persist
  /// An earlier process started it.
  bool taken_over() const noexcept { return was_taken_over_; }
  bool alive() const noexcept { return !closed_.load(std::memory_order_acquire); }

  /// How busy it is: creations under way and sandboxes alive.
  std::atomic<std::uint32_t> creating{0}, living{0};

 private:
  struct Waiter {
    std::condition_variable wake;
    bool done = false;
    launch::Reply reply;
    std::vector<core::UniqueFd> fds;
  };
  explicit Launcher(core::UniqueFd socket, std::optional<os::PidfdProcess> process = std::nullopt)
      : socket_(std::move(socket)), process_(std::move(process)) {}
  Result<void> configure(int agent, const launch::Configure& configure, core::TimePoint deadline);
  Result<void> send(const std::string& packet, std::span<const int> fds, core::TimePoint deadline);
  Result<void> read_one(std::unique_lock<std::mutex>& lock, core::TimePoint deadline);
  void dispatch(launch::Reply reply, std::vector<core::UniqueFd> fds);
  void lose(const Error& why);

  core::UniqueFd socket_;
  core::UniqueFd notes_;                     ///< non-blocking
  std::optional<os::PidfdProcess> process_;  ///< when we started it
  core::UniqueFd taken_over_;                ///< pidfd of one that we did not
  bool was_taken_over_ = false;
  launch::Configured facts_;
  std::atomic<bool> closed_{false};
  std::mutex mutex_;
  std::uint64_t next_number_ = 0;
  std::map<std::uint64_t, Waiter*> waiters_;
  std::set<std::uint64_t> abandoned_creates_;
  bool reading_ = false;
  std::unique_ptr<std::byte[]> buffer_ = std::make_unique<std::byte[]>(launch::kMaxMessage);
};

}  // namespace sandbox::native
