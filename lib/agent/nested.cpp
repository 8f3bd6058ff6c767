#include "agent/nested.hpp"

#include <utility>

#include "agent/server.hpp"
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

}  // namespace

Result<std::unique_ptr<Operation>> make_nested_session(Context context, ByteView params, std::string_view) {
  SANDBOX_TRY(const auto request, protocol::decode<protocol::SessionRequest>(params));
  if (request.dialect == "v1") return v1::make_stream(context, request);
  if (request.dialect != "v2")
    return Error(ErrorCode::unsupported, "this agent speaks v1 and v2 in nested sessions").with_operation("session");
  if (context.server.depth() >= Server::kMaxDepth)
    return Error(ErrorCode::resource_exhausted, "sessions are nested too deeply").with_operation("session");
  return std::unique_ptr<Operation>(std::make_unique<NestedSession>(context));
}

}  // namespace sandbox::agent
