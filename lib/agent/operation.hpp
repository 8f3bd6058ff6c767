#pragma once

#include <memory>
#include <string>

#include "agent/loop.hpp"
#include "session/session.hpp"

/// One stream of a client, being served. Operations never block: long work is cut into slices (Loop::defer), so that
/// parallel operations do not wait for each other.
namespace sandbox::agent {

class Server;

/// What an operation works with. Valid for the operation's whole life.
struct Context {
  Loop& loop;
  session::Session& session;
  session::StreamId stream;
  Server& server;   ///< the agent's shared state: environment, default directory, idempotency table (lib/agent/server.hpp)
};

/// Base of all operations. The server owns it and frees it after its END left, on loss of the session, or on destroy;
/// the destructor stops whatever still runs (kills groups, removes temporary files).
class Operation : public session::StreamHandler {
 public:
  explicit Operation(Context context) : context_(context) {}

  /// False for one that only carries the bytes of others: with nothing else under way the agent has nothing to do.
  virtual bool works() const noexcept { return true; }

  void on_cancel() override { fail(Error(ErrorCode::cancelled, "cancelled by the client")); }

 protected:
  Context& context() noexcept { return context_; }
  bool ended() const noexcept { return ended_; }

  /// Sends `body` (a struct of the method). One that no message can hold ends the stream with resource_exhausted: a client
  /// never misses one without being told.
  template <protocol::Message T>
  void message(const T& body) {
    if (ended_) return;
    if (auto sent = context_.session.send_message(context_.stream, protocol::encode(body)); !sent) fail(sent.error());
  }
  /// Ends with success and `result`. Only the first finish() or fail() counts.
  template <protocol::Message T>
  void finish(const T& result) {
    protocol::End end;
    end.result = protocol::encode(result);
    conclude(std::move(end));
  }
  void fail(const Error& error) { conclude(session::end_of(error)); }
  /// For operations that must see or record their END (idempotent exec). Default: hands it to the session.
  virtual void conclude(protocol::End end) {
    if (ended_) return;
    ended_ = true;
    context_.session.end(context_.stream, std::move(end));
  }

 private:
  Context context_;
  bool ended_ = false;
};

/// Makes the operation for one OPEN. A null result means the params were refused: `error` says why.
using OperationFactory = Result<std::unique_ptr<Operation>> (*)(Context context, ByteView params,
                                                                std::string_view idempotency_key);

/// exec, env and nested sessions: lib/agent/exec.cpp, env.cpp, nested.cpp.
OperationFactory process_operation(protocol::Method method) noexcept;
/// fs_*: lib/agent/fs_*.cpp. Null when `method` is not one of them.
OperationFactory file_operation(protocol::Method method) noexcept;

}  // namespace sandbox::agent
