#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include <sandbox/asio.hpp>
#include <sandbox/fs.hpp>

#include "core/clock.hpp"
#include "core/unique_fd.hpp"
#include "arguments.hpp"
#include "guard.hpp"
#include "queue.hpp"

/// Work under way. It ends on whatever thread ends it (mostly the reactor's): that thread stores the result, wakes whoever
/// waits and goes on; nothing of the caller runs there.
namespace sandbox::c {

/// The result of functions that only succeed or fail.
struct Nothing {};

/// Results, or what their pointers point to, that take more than their destructor to let go of.
template <class T>
concept Retiring = requires(T value) { T::retire(std::move(value)); };
template <class T>
concept RetiringPointer = requires(T value) { T::element_type::retire(std::move(value)); };

/// Lets go of a result that nobody wants. Never blocks.
template <class T>
void give_back(T value) {
  if constexpr (Retiring<T>) T::retire(std::move(value));
  else if constexpr (RetiringPointer<T>) T::element_type::retire(std::move(value));
}

/// The part of an op that does not know its result. Thread-safe.
class OpState : public std::enable_shared_from_this<OpState> {
 public:
  OpState() { underway_.fetch_add(1, std::memory_order_relaxed); }
  OpState(const OpState&) = delete;
  virtual ~OpState() {
    if (!done()) underway_.fetch_sub(1, std::memory_order_relaxed);
  }
  /// How many of this process have not ended.
  static int underway() noexcept { return underway_.load(std::memory_order_relaxed); }

  bool done() const noexcept { return done_.load(std::memory_order_acquire); }
  /// Whether it ended before `deadline`.
  bool wait(core::TimePoint deadline);
  void cancel();
  /// An eventfd, made for who asks first. Errors: resource_exhausted.
  Result<int> fd();
  Result<void> notify(const std::shared_ptr<QueueState>& queue, std::uint64_t tag);
  /// What ends the work early; dropped if it has ended already. Called by who started it.
  void attach(detail::Canceller cancel);
  /// The handle goes: cancels the work, and gives its result back.
  void drop();

 protected:
  /// What is left to do of an end without the lock.
  struct Aftermath {
    detail::Canceller gone;             ///< to be destroyed
    std::shared_ptr<QueueState> queue;  ///< holds the tag and has its reader to wake; null: none
    void settle() const {
      if (queue) queue->wake();
    }
  };
  /// Under the lock: it has ended.
  [[nodiscard]] Aftermath end();
  virtual void give_back_outcome() = 0;

  std::mutex mutex_;
  bool dropped_ = false;

 private:
  inline static std::atomic<int> underway_{0};

  std::condition_variable changed_;
  std::atomic<bool> done_{false};
  detail::Canceller cancel_;
  core::UniqueFd event_;
  std::weak_ptr<QueueState> queue_;
  std::uint64_t tag_ = 0;
  bool notifies_ = false;
};

template <class T>
class TypedOp final : public OpState {
 public:
  ~TypedOp() override {
    if (outcome_) outcome_->ignore("nobody took it");
  }

  /// Ends the op, unless it has ended; then `outcome` is given back and false returned.
  bool complete(Result<T> outcome) {
    Aftermath aftermath;
    bool taken = false;
    {
      std::lock_guard lock(mutex_);
      if (!done() && !dropped_) {
        outcome_.emplace(std::move(outcome));
        taken = true;
      }
      if (!done()) aftermath = end();
    }
    aftermath.settle();
    if (taken) return true;
    if (outcome) give_back(*std::move(outcome));
    else outcome.ignore("nobody waits for it");
    return false;
  }

  /// Errors: failed_precondition (it runs, or was taken), and what it ended with.
  Result<T> take() {
    std::lock_guard lock(mutex_);
    if (!done()) return Error(ErrorCode::failed_precondition, "the operation is still under way");
    if (!outcome_) return Error(ErrorCode::failed_precondition, "the result was taken already");
    Result<T> outcome = *std::move(outcome_);
    outcome_.reset();
    return outcome;
  }

 private:
  void give_back_outcome() override {
    std::optional<Result<T>> outcome;
    {
      std::lock_guard lock(mutex_);
      outcome.swap(outcome_);
    }
    if (!outcome) return;
    if (*outcome) give_back(**std::move(outcome));
    else outcome->ignore("nobody took it");
  }

  std::optional<Result<T>> outcome_;
};

template <class T>
using OpPtr = std::shared_ptr<TypedOp<T>>;

}  // namespace sandbox::c

struct sbx_op {
  explicit sbx_op(std::shared_ptr<sandbox::c::OpState> shared) : state(std::move(shared)) {}
  ~sbx_op() { state->drop(); }
  const std::shared_ptr<sandbox::c::OpState> state;
  std::optional<sandbox::FileEvent> event;  ///< what sbx_op_take_file_event lends
};

namespace sandbox::c {

/// sbx_f_start: `begin(OpPtr<T>) -> Result<void>` begins the work; its error ends the op.
template <class T, class Begin>
sbx_op* start(Begin&& begin) noexcept {
  try {
    auto op = std::make_shared<TypedOp<T>>();
    auto handle = std::make_unique<sbx_op>(op);
    try {
      Result<void> begun = check_process();
      if (begun) begun = std::forward<Begin>(begin)(op);
      if (!begun) op->complete(std::move(begun).error());
    } catch (...) {
      op->complete(error_of_exception());
    }
    return handle.release();
  } catch (...) {
    return nullptr;
  }
}

/// sbx_op_take_x: hands the result to `give(T)`.
template <class T, class Give>
sbx_code take(sbx_op* op, sbx_error** err, bool has_out, Give&& give) noexcept {
  return guard(err, [&]() -> Result<void> {
    if (!op) return null_argument("op");
    if (!has_out) return null_argument("the out argument");
    auto* const typed = dynamic_cast<TypedOp<T>*>(op->state.get());
    if (!typed) return bad_argument("op", "has another kind of result");
    SANDBOX_TRY(T value, typed->take());
    std::forward<Give>(give)(std::move(value));
    return {};
  });
}

/// The same for results that are handles.
template <class Handle>
sbx_code take_handle(sbx_op* op, Handle** out, sbx_error** err) noexcept {
  if (out) *out = nullptr;
  return take<std::unique_ptr<Handle>>(op, err, out != nullptr, [out](std::unique_ptr<Handle> made) { *out = made.release(); });
}

/// The same for results that fill a struct of the caller's.
template <class T, class Struct, class Fill>
sbx_code take_struct(sbx_op* op, sbx_error** err, Struct* out, std::string_view argument, Fill&& fill_in) noexcept {
  const sbx_code checked = guard(err, [&] { return check_out(out, argument); });
  if (checked != SBX_OK) return checked;
  return take<T>(op, err, true, [&](T value) { fill_in(out, value); });
}

/// A completion token that ends an op, on the thread that completes. `convert(R) -> T`.
template <class T, class Convert>
struct OpToken {
  OpPtr<T> op;
  Convert convert;
};
template <class T, class Convert>
OpToken(OpPtr<T>, Convert) -> OpToken<T, Convert>;

/// Ops under way, the one that begins included, up to which a thread that starts a short one waits a moment for its answer. With more
/// it has better things to do, and they share the thread switches anyway.
inline constexpr int kFewUnderway = 4;

template <class R, class T, class Convert>
class OpTarget final : public detail::Completion<R>::Target {
 public:
  OpTarget(OpPtr<T> op, Convert convert) : op_(std::move(op)), convert_(std::move(convert)) {}
  void complete(Result<R> result) override {
    try {
      if (!result) op_->complete(std::move(result).error());
      else if constexpr (std::is_void_v<R>) op_->complete(convert_());
      else op_->complete(convert_(*std::move(result)));
    } catch (...) {
      op_->complete(error_of_exception());
    }
  }
  bool completes_anywhere() const noexcept override { return OpState::underway() <= kFewUnderway; }

 private:
  OpPtr<T> op_;
  Convert convert_;
};

/// The token for functions that only succeed or fail.
inline auto ends(OpPtr<Nothing> op) {
  return OpToken{std::move(op), [] { return Nothing(); }};
}

}  // namespace sandbox::c

/// Unlike other tokens this one needs no executor and no cancellation slot: the op keeps the canceller itself.
template <class R, class T, class Convert>
class boost::asio::async_result<sandbox::c::OpToken<T, Convert>, void(sandbox::Result<R>)> {
 public:
  template <class Initiation, class Start>
  static void initiate(Initiation&&, sandbox::c::OpToken<T, Convert> token, const boost::asio::any_io_executor&, Start start) {
    auto target = std::make_unique<sandbox::c::OpTarget<R, T, Convert>>(token.op, std::move(token.convert));
    token.op->attach(start(sandbox::detail::Completion<R>(std::move(target))));
  }
};
