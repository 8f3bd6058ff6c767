#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <boost/asio/io_context.hpp>

#include "http/websocket.hpp"
#include "link/link.hpp"
#include "protocol/messages.hpp"
#include "server/lifecycle.hpp"
#include "server/v1_frames.hpp"
#include "session/session.hpp"

namespace sandbox::server {

/// One client's WebSocket joined to a stream of method `session` on its sandbox's link: the bytes end in the agent, the
/// daemon neither parses nor keeps them. Reactor thread only. Lives until both ends are over, whoever holds it.
///
/// Backpressure: the agent gets credit back only for what the WebSocket's socket has (nearly) taken; the WebSocket is not
/// read while the stream takes no more. What the stream tells comes under the link's lock, so whatever needs the link from
/// there is posted.
class SessionRelay : public http::WebSocketHandler, public std::enable_shared_from_this<SessionRelay> {
 public:
  /// Told once, when the WebSocket is over.
  using OnEnd = std::function<void(SessionEnd)>;

  SessionRelay(std::shared_ptr<link::Link> link, std::shared_ptr<http::WebSocket> socket, OnEnd on_end);
  ~SessionRelay() override;

  /// Opens the stream and begins to read. An agent that cannot be reached closes the WebSocket with 1011.
  void start();
  /// Says goodbye: closes the WebSocket after what is queued, and cancels the stream.
  void close(std::uint16_t code, std::string_view reason);

 protected:
  virtual protocol::SessionRequest request() const = 0;
  /// Bytes of the stream, under the link's lock. Errors end the relay with 1011.
  virtual Result<void> deliver(ByteView bytes) = 0;
  /// Whether the end of this WebSocket means that the client is done.
  virtual SessionEnd meaning_of(const http::CloseInfo& info) const = 0;
  /// Whether a client is told with 1011 that the agent died under its session; v1 has 1000 for every end.
  virtual bool tells_loss() const { return true; }
  /// Sends bytes to the agent, or keeps them and stops reading. Not under the link's lock.
  void forward(ByteView first, ByteView second = {});
  http::WebSocket* socket() noexcept { return socket_.get(); }

 private:
  /// What the link's session tells.
  class Stream final : public session::StreamHandler {
   public:
    explicit Stream(SessionRelay& relay) : relay_(relay) {}
    void on_data(session::Channel channel, ByteView data, bool) override { relay_.from_agent(channel, data); }
    void on_writable(session::Channel) override { relay_.agent_takes_more(); }
    void on_end(const protocol::End& end) override { relay_.agent_ended(end); }
    void on_lost(const Error& error) override { relay_.agent_lost(error); }

   private:
    SessionRelay& relay_;
  };

  void from_agent(session::Channel channel, ByteView data);
  void agent_takes_more();
  void agent_ended(const protocol::End& end);
  void agent_lost(const Error& error);
  void stream_over(std::uint16_t code, std::string reason);
  void on_drained() override;
  void on_closed(const http::CloseInfo& info) override;
  void socket_over(const http::CloseInfo& info);
  void leave_stream(bool finished);
  bool flush_kept();
  void read_again();

  const std::shared_ptr<link::Link> link_;
  boost::asio::io_context& context_;
  std::shared_ptr<http::WebSocket> socket_;
  OnEnd on_end_;
  Stream stream_handler_{*this};
  std::optional<link::Link::Attention> attention_;
  session::Session* session_ = nullptr;  ///< of link_; used under its lock only
  session::StreamId stream_ = 0;
  std::shared_ptr<SessionRelay> self_;   ///< while the session has a pointer to this
  std::string kept_;                     ///< from the client, for the agent
  std::size_t kept_from_ = 0;
  std::size_t owed_ = 0;                 ///< bytes given to the WebSocket whose credit was not given back
  bool finish_ = false;                  ///< end the `in` channel behind kept_
  bool opened_ = false;                  ///< the stream began
  bool paused_ = false;                  ///< the WebSocket is not read
  bool in_handler_ = false;              ///< this thread holds the link's lock
};

/// A session of docs/PROTOCOL.md: binary payload is the byte stream.
class V2Relay final : public SessionRelay {
 public:
  /// `keep`: how long the agent keeps the session of a client that was cut off.
  V2Relay(std::shared_ptr<link::Link> link, std::shared_ptr<http::WebSocket> socket, std::chrono::milliseconds keep, OnEnd on_end)
      : SessionRelay(std::move(link), std::move(socket), std::move(on_end)), keep_(keep) {}

 private:
  protocol::SessionRequest request() const override;
  Result<void> deliver(ByteView bytes) override;
  SessionEnd meaning_of(const http::CloseInfo& info) const override;
  void on_data(ByteView bytes) override { forward(bytes); }

  const std::chrono::milliseconds keep_;
};

/// A JSON-RPC session: each message is a frame.
class V1Relay final : public SessionRelay {
 public:
  /// `id` is the request's, as JSON text; `label` is empty when there is none to be read.
  using OnSave = std::function<void(std::string id, std::string label)>;

  V1Relay(std::shared_ptr<link::Link> link, std::shared_ptr<http::WebSocket> socket, std::string sandbox, bool resumed,
          OnEnd on_end, OnSave on_save)
      : SessionRelay(std::move(link), std::move(socket), std::move(on_end)),
        sandbox_(std::move(sandbox)), resumed_(resumed), on_save_(std::move(on_save)) {}

  /// Sends one message of the daemon's own. Dropped when the client is gone.
  void send_text(std::string message);

 private:
  protocol::SessionRequest request() const override;
  Result<void> deliver(ByteView bytes) override;
  SessionEnd meaning_of(const http::CloseInfo&) const override { return SessionEnd::closed; }
  bool tells_loss() const override { return false; }
  void on_message(http::MessageKind kind, std::string&& payload) override;

  const std::string sandbox_;
  const bool resumed_;
  const OnSave on_save_;
  V1FrameReader frames_;
};

/// The id (as JSON text) and label of a template.save request; nothing for any other message.
struct SaveCall {
  std::string id;
  std::string label;
};
std::optional<SaveCall> find_template_save(std::string_view message);

}  // namespace sandbox::server
