#pragma once

#include <atomic>
#include <stop_token>

#include "op.hpp"

/// Threads for work that has no asynchronous C++ form. Two lanes, so that what waits for a sandbox (ports, transfers)
/// never keeps back what ends the waiting (close, resume). Eight threads at most, made when first needed, for the whole
/// process and as long as it lives.
namespace sandbox::c {

enum class Lane {
  quick,  ///< bounded by the kernel or one request: close, pause, stats
  slow,   ///< bounded by a timeout of the caller's or the size of what moves
};

void run_later(Lane lane, std::function<void()> task);

/// Destroys something whose destructor blocks.
template <class Pointer>
void destroy_later(Pointer pointer) {
  run_later(Lane::quick, [kept = std::shared_ptr<typename Pointer::element_type>(std::move(pointer))] {});
}

/// Blocking work with its arguments checked and copied, ready to be done anywhere.
template <class T>
using Work = std::function<Result<T>()>;

/// The blocking form: `prepare() -> Result<Work<…>>`, done here.
template <class Handle, class Prepare>
sbx_code run_now(sbx_error** err, Handle** out, Prepare&& prepare) noexcept {
  return guard(err, out, [&]() -> Result<std::unique_ptr<Handle>> {
    SANDBOX_TRY(const Work<std::unique_ptr<Handle>> work, std::forward<Prepare>(prepare)());
    return work();
  });
}
template <class Prepare>
sbx_code run_now(sbx_error** err, Prepare&& prepare) noexcept {
  return guard(err, [&]() -> Result<void> {
    SANDBOX_TRY(const Work<Nothing> work, std::forward<Prepare>(prepare)());
    SANDBOX_TRY([[maybe_unused]] const Nothing done, work());
    return {};
  });
}

/// sbx_f_start: the same on a worker. Cancelled while it runs, the op ends at once, and what the work then brings is given
/// back.
template <class T, class Prepare>
sbx_op* start_work(Lane lane, Prepare&& prepare) noexcept {
  return start<T>([&](const OpPtr<T>& op) -> Result<void> {
    SANDBOX_TRY(Work<T> work, std::forward<Prepare>(prepare)());
    op->attach([weak = std::weak_ptr(op)] {
      if (auto self = weak.lock()) self->complete(Error(ErrorCode::cancelled, "cancelled by the caller"));
    });
    run_later(lane, [op, work = std::move(work)] {
      if (op->done()) return;
      try {
        op->complete(work());
      } catch (...) {
        op->complete(error_of_exception());
      }
    });
    return {};
  });
}

/// Work that ends early when it is asked to.
template <class T>
using StoppableWork = std::function<Result<T>(const std::stop_token&)>;

/// The same for such work. Cancelled while it runs, the op ends with it; while it still waits for its turn, at once.
template <class T, class Prepare>
sbx_op* start_stoppable(Lane lane, Prepare&& prepare) noexcept {
  struct Run {
    std::stop_source stop;
    std::atomic<bool> settled{false};  ///< that it runs, or that it never will
  };
  return start<T>([&](const OpPtr<T>& op) -> Result<void> {
    SANDBOX_TRY(StoppableWork<T> work, std::forward<Prepare>(prepare)());
    const auto run = std::make_shared<Run>();
    op->attach([weak = std::weak_ptr(op), run] {
      run->stop.request_stop();
      if (run->settled.exchange(true)) return;
      if (auto self = weak.lock()) self->complete(Error(ErrorCode::cancelled, "cancelled by the caller"));
    });
    run_later(lane, [op, run, work = std::move(work)] {
      if (run->settled.exchange(true)) return;
      try {
        op->complete(work(run->stop.get_token()));
      } catch (...) {
        op->complete(error_of_exception());
      }
    });
    return {};
  });
}

/// Success without a value.
inline Result<Nothing> nothing(Result<void> done) {
  if (!done) return std::move(done).error();
  return Nothing();
}

}  // namespace sandbox::c
