#include "agent/nested.hpp"

#include <utility>

#include "agent/resumable.hpp"
#include "agent/server.hpp"
#include "agent/sessions.hpp"
#include "agent/v1/stream.hpp"

namespace sandbox::agent {
namespace {

using session::Channel;

class NestedSession final : public Operation {
 public:
  explicit NestedSession(Context context)
      : Operation(context),
        inner_(context.server.agent(), session_options(), [this](ByteView bytes) { return write(bytes); },
               context.server.depth() + 1) {}
  bool works() const noexcept override { return false; }

  void on_data(Channel channel, ByteView data, bool fin) override {
    context().session.consumed(context().stream, channel, data.size());
    if (channel != Channel::in || ended()) return;
    // The inner session bounds what it holds by its own credit, so taking everything at once is safe.
    if (!data.empty()) {
      if (auto result = inner_.receive(data); !result) return fail(result.error());
    }
    if (fin) leave(Error(ErrorCode::unavailable, "the client closed the nested session"));
  }
  void on_writable(Channel channel) override {
    if (channel == Channel::out && !ended()) inner_.flush();
  }
  void on_cancel() override { leave(Error(ErrorCode::cancelled, "the client cancelled the nested session")); }

 private:
  std::size_t write(ByteView bytes) { return ended() ? 0 : context().session.send(context().stream, Channel::out, bytes); }

  /// Ends every inner operation, then this stream, with success: closing is how a session is meant to end.
  void leave(const Error& why) {
    if (ended()) return;
    inner_.close(why);
    finish(protocol::Empty{});
  }

  Server inner_;
};

/// A stream whose inner session may outlive it (ResumableSessions).
class ResumableStream final : public Operation, private ResumableSessions::Carrier {
 public:
  ResumableStream(Context context, core::Duration keep)
      : Operation(context), keep_(keep), sessions_(context.server.agent().sessions().resumable()), greeter_(context.server.agent()) {}
  ~ResumableStream() override { sessions_.detach(*this); }
  bool works() const noexcept override { return false; }

  void on_data(Channel channel, ByteView data, bool fin) override {
    context().session.consumed(context().stream, channel, data.size());
    if (channel != Channel::in || ended()) return;
    if (!data.empty()) {
      if (auto result = inner_ ? inner_->receive(data) : greet(data); !result) {
        // A client that resumes a session nobody knows learns it from our hello, which may still be queued.
        if (inner_) inner_->flush();
        sessions_.detach(*this);
        return fail(result.error());
      }
    }
    if (fin) leave();
  }
  void on_writable(Channel channel) override {
    if (channel != Channel::out || ended()) return;
    if (inner_) inner_->flush();
    else say();
  }
  void on_cancel() override { leave(); }
  void on_lost(const Error&) override {
    sessions_.detach(*this);
    inner_ = nullptr;
  }

 private:
  Result<void> greet(ByteView data) {
    auto known = greeter_.feed(data);
    say();
    if (!known) return std::move(known).error();
    if (!*known) return {};
    SANDBOX_TRY(inner_, sessions_.attach(greeter_, *this, keep_, context().server.depth() + 1));
    return {};
  }
  /// The handshake's answers are smaller than any window, so the stream takes them whole.
  void say() {
    for (ByteView bytes = greeter_.output(); !bytes.empty(); bytes = greeter_.output()) {
      const std::size_t taken = write(bytes);
      if (taken == 0) return;
      greeter_.sent(taken);
    }
  }
  std::size_t write(ByteView bytes) override {
    return ended() ? 0 : context().session.send(context().stream, Channel::out, bytes);
  }
  void replaced() override {
    inner_ = nullptr;
    finish(protocol::Empty{});
  }
  void leave() {
    if (ended()) return;
    sessions_.detach(*this);
    inner_ = nullptr;
    finish(protocol::Empty{});
  }

  const core::Duration keep_;
  ResumableSessions& sessions_;
  Greeter greeter_;
  Server* inner_ = nullptr;   ///< once the client is known
};

}  // namespace

Result<std::unique_ptr<Operation>> make_nested_session(Context context, ByteView params, std::string_view) {
  SANDBOX_TRY(const auto request, protocol::decode<protocol::SessionRequest>(params));
  if (request.dialect == "v1") return v1::make_stream(context, request);
  if (request.dialect != "v2")
    return Error(ErrorCode::unsupported, "this agent speaks v1 and v2 in nested sessions").with_operation("session");
  if (context.server.depth() >= Server::kMaxDepth)
    return Error(ErrorCode::resource_exhausted, "sessions are nested too deeply").with_operation("session");
  if (request.keep_ms > 0)
    return std::unique_ptr<Operation>(std::make_unique<ResumableStream>(context, std::chrono::milliseconds(request.keep_ms)));
  return std::unique_ptr<Operation>(std::make_unique<NestedSession>(context));
}

}  // namespace sandbox::agent
