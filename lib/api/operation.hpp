#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include <sandbox/asio.hpp>
#include <sandbox/result.hpp>

#include "driver/box.hpp"
#include "protocol/messages.hpp"
#include "session/session.hpp"

/// One call into a sandbox: a stream is opened, its handler collects, the END makes the result. Written once per
/// method; run() waits for it on the calling thread, launch() completes it from the reactor.
namespace sandbox::api {

/// Time the agent gets beyond a timeout that it enforces itself, before the host calls it silent.
inline constexpr std::chrono::seconds kGrace{5};

/// The part of a call that does not know its result type. Handler functions run under the link's lock.
class Call : public session::StreamHandler {
 public:
  Call(protocol::Method method, std::string params, std::string key = {})
      : method_(method), params_(std::move(params)), key_(std::move(key)) {}
  Call(Call&&) = default;
  ~Call() override {
    if (error_) error_->ignore("the caller was told something else");
  }

  /// Opens the stream. Once; under the link's lock.
  void open(session::Session& session) {
    session_ = &session;
    if (session.failed()) return on_lost(Error(ErrorCode::unavailable, "the connection to the sandbox is gone"));
    stream_ = session.open(method_, std::move(params_), this, std::move(key_));
    if (!finished_) opened();
  }
  /// Gives the stream up: the agent is asked to stop and what still comes is dropped. Under the link's lock.
  void abandon() {
    if (finished_ || !session_) return;
    session_->cancel(stream_);
    session_->detach(stream_);
    finished_ = true;
  }
  /// Asks the agent to stop; END still follows. Under the link's lock.
  void cancel() {
    if (!finished_ && session_) session_->cancel(stream_);
  }

  bool finished() const noexcept { return finished_; }
  /// Whether the answer is mostly there in microseconds, so that looking for it can pay (link::Link::look).
  virtual bool brief() const noexcept { return false; }
  /// How long the agent may take before it counts as silent; zero: for ever.
  virtual std::chrono::milliseconds patience() const noexcept { return {}; }

  void on_end(const protocol::End& end) override {
    if (end.code != 0) fail(session::error_of(end));
    else reply_ = end.result;
    finish();
  }
  void on_lost(const Error& error) override {
    fail(error);
    finish();
  }

 protected:
  /// The stream exists: send what goes with the request.
  virtual void opened() {}
  /// Called once, under the lock, when nothing more will come.
  virtual void finish() { finished_ = true; }
  /// Remembers the first failure.
  void fail(Error error) {
    if (!error_) error_.emplace(std::move(error));
    else error.ignore("an earlier failure is reported");
  }

  session::Session& session() noexcept { return *session_; }
  session::StreamId stream() const noexcept { return stream_; }
  const std::optional<Error>& error() const noexcept { return error_; }
  ByteView reply() const noexcept { return as_bytes(reply_); }

 private:
  protocol::Method method_;
  std::string params_;
  std::string key_;
  session::Session* session_ = nullptr;
  session::StreamId stream_ = 0;
  bool finished_ = false;
  std::optional<Error> error_;
  std::string reply_;
};

/// A call with a result.
template <class R>
class Operation : public Call {
 public:
  using Call::Call;
  /// After finished(), once, outside the lock.
  Result<R> result() {
    if (error()) return *error();
    return make();
  }

 protected:
  virtual Result<R> make() = 0;
};

/// A method that answers with one `Reply`, shown to the user as `Convert(reply)`.
template <protocol::Message Reply, auto Convert>
class Ask : public Operation<typename std::invoke_result_t<decltype(Convert), Reply&&>::value_type> {
  using R = typename std::invoke_result_t<decltype(Convert), Reply&&>::value_type;

 public:
  using Operation<R>::Operation;
  bool brief() const noexcept override { return true; }

 protected:
  Result<R> make() override {
    SANDBOX_TRY(Reply reply, protocol::decode<Reply>(this->reply()));
    return Convert(std::move(reply));
  }
};

/// A method that answers with nothing.
class Tell : public Operation<void> {
 public:
  using Operation::Operation;
  bool brief() const noexcept override { return true; }

 protected:
  Result<void> make() override { return {}; }
};

/// Opens `call` and waits until it finished. When this returns an error the call was given up; otherwise result() tells.
Result<void> run(driver::Box& box, Call& call);

template <class R>
Result<R> perform(driver::Box& box, Operation<R>& operation) {
  SANDBOX_CHECK(run(box, operation));
  return operation.result();
}

/// May this thread block on `box` now, and is the sandbox usable?
Result<void> may_block(driver::Box& box);

}  // namespace sandbox::api
