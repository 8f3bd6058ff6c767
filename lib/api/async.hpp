#pragma once

#include <memory>
#include <optional>
#include <utility>

#include <boost/asio/steady_timer.hpp>

#include "api/operation.hpp"

/// How an Operation completes without a thread of its own: the reactor reads while it is outstanding. Where the completion
/// allows that, the answer of a brief operation is looked for first (link::Link::look), and the reactor never hears of it.
namespace sandbox::api {

/// Completes `completion` from the reactor thread, never from here.
template <class R>
void complete_later(driver::Box& box, detail::Completion<R> completion, Result<R> result) {
  box.reactor().post([completion = std::move(completion), result = std::move(result)]() mutable {
    completion(std::move(result));
  });
}

/// `Op` (an Operation<R>) together with who wants to know. Owns itself from start() until it completed.
template <class Op, class R>
class Outstanding final : public Op, public std::enable_shared_from_this<Outstanding<Op, R>> {
 public:
  Outstanding(std::shared_ptr<driver::Box> box, detail::Completion<R> completion, Op operation)
      : Op(std::move(operation)), box_(std::move(box)), completion_(std::move(completion)), timer_(box_->reactor().context()) {}

  void start() {
    looking_ = this->brief() && this->patience().count() == 0 && completion_.completes_anywhere();
    if (!looking_) attention_.emplace(box_->link());
    box_->link()->with([&](session::Session& session) {
      self_ = this->shared_from_this();
      if (const auto patience = this->patience(); patience.count() > 0) {
        timer_.expires_after(patience);
        timer_.async_wait([weak = this->weak_from_this()](boost::system::error_code error) {
          if (error) return;
          if (auto self = weak.lock()) self->give_up(Error(ErrorCode::unavailable, "the agent did not answer in time"));
        });
      }
      this->open(session);
    });
    if (!looking_) return;
    if (box_->link()->look([this] { return this->finished(); })) {
      const auto self = std::move(self_);
      return completion_(this->result());
    }
    attention_.emplace(box_->link());
    box_->link()->with([&](session::Session&) {
      looking_ = false;
      if (this->finished()) leave();
    });
  }

  void request_cancel() {
    box_->link()->with([&](session::Session&) { this->cancel(); });
  }

 protected:
  /// Under the lock: the rest happens on the reactor, or in start() while that looks.
  void finish() override {
    Op::finish();
    if (!looking_) leave();
  }

 private:
  void give_up(Error error) {
    box_->link()->with([&](session::Session&) {
      if (this->finished()) return error.ignore("it finished after all");
      this->fail(std::move(error));
      this->abandon();
      leave();
    });
  }
  void leave() {
    box_->reactor().post([self = std::move(self_)] {
      self->attention_.reset();
      self->timer_.cancel();
      self->completion_(self->result());
    });
  }

  std::shared_ptr<driver::Box> box_;
  detail::Completion<R> completion_;
  boost::asio::steady_timer timer_;
  std::optional<link::Link::Attention> attention_;
  bool looking_ = false;  ///< start() has not left it to the reactor; under the lock
  std::shared_ptr<Outstanding> self_;
};

/// Starts `operation` and completes `completion` when it finished. A cancel asks the agent to stop; what it then
/// answers (an outcome, or the error cancelled) is the result.
template <class R, class Op>
detail::Canceller launch(const std::shared_ptr<driver::Box>& box, Op operation, detail::Completion<R> completion) {
  if (auto usable = box->usable(); !usable) {
    complete_later<R>(*box, std::move(completion), std::move(usable).error());
    return {};
  }
  auto outstanding = std::make_shared<Outstanding<Op, R>>(box, std::move(completion), std::move(operation));
  outstanding->start();
  return [weak = std::weak_ptr(outstanding)] {
    if (auto self = weak.lock()) self->request_cancel();
  };
}

/// The same for an operation whose arguments may have been refused.
template <class R, class Op>
detail::Canceller launch(const std::shared_ptr<driver::Box>& box, Result<Op> operation, detail::Completion<R> completion) {
  if (!operation) {
    complete_later<R>(*box, std::move(completion), std::move(operation).error());
    return {};
  }
  return launch<R>(box, *std::move(operation), std::move(completion));
}

}  // namespace sandbox::api
