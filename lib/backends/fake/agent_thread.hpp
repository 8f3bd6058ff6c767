#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "core/unique_fd.hpp"
#include "session/endpoint.hpp"
#include "session/session.hpp"

/// The agent's end of a session on a thread of this process, for tests: what it answers is scripted, nothing is
/// executed and nothing is isolated.
namespace sandbox::backends::fake {

class AgentThread final : session::SessionHandler {
 public:
  /// One stream, served. Made by Serve; freed when its END has left.
  class Served : public session::StreamHandler {
   public:
    Served(session::Session& session, session::StreamId stream) : session_(session), stream_(stream) {}
    void on_cancel() override { end(session::end_of(Error(ErrorCode::cancelled, "cancelled by the client"))); }

   protected:
    session::Session& session() noexcept { return session_; }
    session::StreamId stream() const noexcept { return stream_; }
    /// Only the first counts.
    void end(protocol::End end) {
      if (std::exchange(ended_, true)) return;
      session_.end(stream_, std::move(end));
    }
    template <protocol::Message T>
    void finish(const T& result) {
      protocol::End record;
      record.result = protocol::encode(result);
      end(std::move(record));
    }

   private:
    session::Session& session_;
    session::StreamId stream_;
    bool ended_ = false;
  };
  /// Null: the method is answered with unsupported.
  using Serve = std::function<std::unique_ptr<Served>(session::Session&, session::StreamId, protocol::Method, ByteView params)>;

  /// With a `channel` (the agent's end) the stream is sealed.
  AgentThread(core::UniqueFd socket, session::Options options, Serve serve,
              std::optional<crypto::SecureChannel> channel = std::nullopt);
  ~AgentThread();

  /// Closes the socket, as a dead agent does. Idempotent, thread-safe; returns at once.
  void die();
  /// Sends `bytes` outside the session. Thread-safe.
  void inject(std::string bytes);
  /// Stops reading and answering until thaw(). Thread-safe; returns when it stands still.
  void freeze();
  void thaw();

 private:
  session::StreamHandler* on_open(session::StreamId stream, protocol::Method method, ByteView params, std::string_view key) override;
  void on_stream_closed(session::StreamId stream) override { streams_.erase(stream); }
  void run();
  void wake();

  core::UniqueFd socket_;
  core::UniqueFd wake_;
  session::Session session_;
  session::Endpoint endpoint_;
  Serve serve_;
  std::unordered_map<session::StreamId, std::unique_ptr<Served>> streams_;

  std::mutex mutex_;
  std::condition_variable changed_;
  bool stop_ = false, frozen_ = false, standing_ = false;
  std::string injected_;
  std::thread thread_;
};

}  // namespace sandbox::backends::fake
