#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "api/operation.hpp"

/// A stream that outlives a call: a running program, a watch. Its state changes under the link's lock; callers wait for
/// conditions on it, on their own thread (await) or as asynchronous operations (await_later), several at a time.
namespace sandbox::api {

class Ongoing : public session::StreamHandler, public std::enable_shared_from_this<Ongoing> {
 public:
  explicit Ongoing(std::shared_ptr<driver::Box> box) : box_(std::move(box)) {}
  /// The owner called abandon() before, or the stream never opened.
  ~Ongoing() override {
    if (error_) error_->ignore("nobody asked how it ended");
  }

  driver::Box& box() noexcept { return *box_; }
  link::Link& link() noexcept { return *box_->link(); }

  /// Opens the stream. Errors: those of usable().
  void open(protocol::Method method, std::string params, std::string key = {}) {
    link().with([&](session::Session& session) {
      session_ = &session;
      if (session.failed()) return on_lost(Error(ErrorCode::unavailable, "the connection to the sandbox is gone"));
      const auto id = session.open(method, std::move(params), this, std::move(key));
      stream_ = id;
      if (!over_) opened();
    });
  }

  /// The owner goes away, or wants no more: asks the agent to end the stream and forgets it; asynchronous waits end with cancelled.
  /// Idempotent; not under the lock.
  void abandon() {
    link().with([&](session::Session& session) {
      if (!over_ && session_) {
        session.cancel(stream_);
        session.detach(stream_);
        lose(Error(ErrorCode::cancelled, "the handle was closed"));
      }
      changed();
      for (auto& pending : std::exchange(pending_, {})) pending->cancel(*this);
    });
  }

  /// Blocks until `poll()` (under the lock) has a value. nullopt: `deadline` passed first.
  template <class R, class Poll>
  Result<std::optional<R>> await(Poll&& poll, core::TimePoint deadline) {
    std::optional<R> value;
    auto done = link().wait_until(
        [&] {
          if (!value) value = poll();
          return value.has_value();
        },
        deadline);
    if (!done) return std::move(done).error();
    return value;
  }

  /// Completes `completion` when `poll()` has a value. The state lives until then.
  template <class R>
  detail::Canceller await_later(std::function<std::optional<Result<R>>()> poll, detail::Completion<R> completion) {
    auto pending = std::make_shared<PendingResult<R>>(shared_from_this(), std::move(poll), std::move(completion));
    link().with([&](session::Session&) {
      pending_.push_back(pending);
      changed();
    });
    return [weak = std::weak_ptr<Pending>(pending), self = weak_from_this()] {
      auto state = self.lock();
      auto waiting = weak.lock();
      if (!state || !waiting) return;
      state->link().with([&](session::Session&) {
        if (std::erase(state->pending_, waiting) > 0) waiting->cancel(*state);
      });
    };
  }

  bool over() const noexcept { return over_; }
  session::StreamId stream_id() const noexcept { return stream_; }

  void on_end(const protocol::End& end) override {
    over_ = true;
    if (end.code != 0) error_.emplace(session::error_of(end));
    else reply_ = end.result;
    ended();
    changed();
  }
  void on_lost(const Error& error) override {
    lose(error);
    ended();
    changed();
  }

 protected:
  virtual void opened() {}
  virtual void ended() {}
  /// Something asynchronous waits may be waiting for has changed. Under the lock.
  void changed() {
    for (std::size_t i = 0; i < pending_.size();) {
      if (pending_[i]->complete(*this)) pending_.erase(pending_.begin() + static_cast<std::ptrdiff_t>(i));
      else ++i;
    }
  }

  /// Whether asynchronous operations wait for a change. Under the lock.
  bool awaited() const noexcept { return !pending_.empty(); }

  session::Session& session() noexcept { return *session_; }
  session::StreamId stream() const noexcept { return stream_; }
  /// Why the stream ended, unless with success.
  const std::optional<Error>& error() const noexcept { return error_; }
  ByteView reply() const noexcept { return as_bytes(reply_); }

 private:
  class Pending {
   public:
    virtual ~Pending() = default;
    virtual bool complete(Ongoing& state) = 0;
    virtual void cancel(Ongoing& state) = 0;
  };
  template <class R>
  class PendingResult final : public Pending, public std::enable_shared_from_this<PendingResult<R>> {
   public:
    PendingResult(std::shared_ptr<Ongoing> keep, std::function<std::optional<Result<R>>()> poll, detail::Completion<R> completion)
        : keep_(std::move(keep)), poll_(std::move(poll)), completion_(std::move(completion)), attention_(keep_->box_->link()) {}
    bool complete(Ongoing& state) override {
      auto value = poll_();
      if (!value) return false;
      leave(state, *std::move(value));
      return true;
    }
    void cancel(Ongoing& state) override { leave(state, Error(ErrorCode::cancelled, "cancelled by the caller")); }

   private:
    /// Everything that takes the lock again (attention, the state's own end) or runs user code happens on the reactor.
    void leave(Ongoing& state, Result<R> value) {
      state.box_->reactor().post([self = this->shared_from_this(), result = std::move(value)]() mutable {
        self->attention_.reset();
        self->completion_(std::move(result));
        self->poll_ = nullptr;
        self->keep_.reset();
      });
    }

    std::shared_ptr<Ongoing> keep_;
    std::function<std::optional<Result<R>>()> poll_;
    detail::Completion<R> completion_;
    std::optional<link::Link::Attention> attention_;
  };

  void lose(const Error& error) {
    over_ = true;
    if (!error_) error_.emplace(error);
  }

  std::shared_ptr<driver::Box> box_;
  session::Session* session_ = nullptr;
  session::StreamId stream_ = 0;
  bool over_ = false;
  std::optional<Error> error_;
  std::string reply_;
  std::vector<std::shared_ptr<Pending>> pending_;
};

}  // namespace sandbox::api
