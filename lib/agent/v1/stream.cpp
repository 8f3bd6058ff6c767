#include "agent/v1/stream.hpp"

#include <utility>

#include "agent/server.hpp"
#include "agent/sessions.hpp"
#include "agent/v1/state.hpp"

namespace sandbox::agent::v1 {
namespace {

using session::Channel;

class Stream final : public Operation, public Attachment {
 public:
  using Operation::Operation;
  ~Stream() override { leave(); }

  void start(const protocol::SessionRequest& request) {
    state_ = &context().server.agent().sessions().v1();
    connection_ = &state_->attach(*this, request.resumed, request.sandbox);
    // What a client has missed could not leave before the stream had its handler.
    connection_->writable();
  }

  void on_data(Channel channel, ByteView data, bool fin) override {
    if (!connection_ || channel != Channel::in) return context().session.consumed(context().stream, channel, data.size());
    connection_->receive(data);
    if (fin && connection_) conclude_well();
  }
  void on_writable(Channel channel) override {
    if (connection_ && channel == Channel::out) connection_->writable();
  }
  void on_cancel() override { conclude_well(); }
  void on_lost(const Error&) override { leave(); }

 private:
  std::size_t write(ByteView bytes) override { return context().session.send(context().stream, Channel::out, bytes); }
  void consumed(std::size_t count) override { context().session.consumed(context().stream, Channel::in, count); }
  void broken(const Error& why) override {
    leave();
    fail(why);
  }
  void replaced() override {
    connection_ = nullptr;
    finish(protocol::Empty{});
  }

  void leave() {
    if (std::exchange(connection_, nullptr)) state_->detach(*this);
  }
  void conclude_well() {
    leave();
    finish(protocol::Empty{});
  }

  State* state_ = nullptr;
  Connection* connection_ = nullptr;
};

}  // namespace

Result<std::unique_ptr<Operation>> make_stream(Context context, const protocol::SessionRequest& request) {
  if (request.sandbox.size() > 256) return Error(ErrorCode::invalid_argument, "the sandbox's name is too long").with_operation("session");
  auto stream = std::make_unique<Stream>(context);
  stream->start(request);
  return std::unique_ptr<Operation>(std::move(stream));
}

}  // namespace sandbox::agent::v1
