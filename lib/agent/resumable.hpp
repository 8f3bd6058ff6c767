#pragma once

#include <list>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>

#include "agent/retired.hpp"
#include "agent/server.hpp"

/// Nested v2 sessions that outlive the streams which carry them: docs/PROTOCOL.md, "Resume".
namespace sandbox::agent {

/// Learns who speaks on a new transport: the handshake, if it is sealed, and the client's hello. Sans-I/O.
class Greeter {
 public:
  explicit Greeter(Agent& agent) : agent_(agent) {}

  /// Bytes of the transport. True: the hello is complete. Errors: those of the seal and of frames.
  Result<bool> feed(ByteView wire);
  /// The agent's part of the handshake.
  ByteView output() const noexcept { return channel_ ? channel_->output() : ByteView(); }
  void sent(std::size_t count) noexcept { channel_->sent(count); }

  // Once feed() answered true:
  const protocol::Hello& hello() const noexcept { return hello_; }
  bool sealed() const noexcept { return channel_.has_value(); }
  std::optional<crypto::SecureChannel> take_channel() noexcept { return std::exchange(channel_, std::nullopt); }
  /// Everything the client has said, the hello included.
  ByteView said() const noexcept { return as_bytes(std::string_view(plain_)); }

 private:
  Result<bool> parse();
  Agent& agent_;
  std::string first_;      ///< until the dialect is known
  bool known_ = false;
  std::optional<crypto::SecureChannel> channel_;
  std::string plain_;
  protocol::Hello hello_;
};

/// The resumable sessions of an agent. A session is named by its id of 16 random bytes, which only its client was told;
/// one that was sealed comes back only on a sealed transport, and a plain one only on a plain one.
class ResumableSessions {
 public:
  static constexpr std::size_t kMaxWaiting = 256;   ///< without a transport; beyond, the one waiting longest ends
  /// Bytes a session keeps for a client that has not acknowledged them.
  static constexpr std::uint64_t kMaxUnacknowledged = 2 << 20;

  /// Whoever carries a session's bytes.
  class Carrier {
   public:
    virtual ~Carrier() = default;
    /// As Server::Write.
    virtual std::size_t write(ByteView bytes) = 0;
    /// The client came back on another transport: no more calls after this one.
    virtual void replaced() = 0;
  };

  explicit ResumableSessions(Agent& agent) : agent_(agent), retired_(agent.loop()) {}
  ~ResumableSessions();
  ResumableSessions(const ResumableSessions&) = delete;

  /// The session that the greeted client names, or a new one, on `carrier` from now on. It is kept `keep` long after
  /// detach(). The server is valid until detach() or carrier.replaced(). Errors: those of Session::receive().
  Result<Server*> attach(Greeter& greeter, Carrier& carrier, core::Duration keep, int depth);
  /// The transport ended. Ends the session, too, when its client has closed it.
  void detach(Carrier& carrier);

  std::size_t size() const noexcept { return entries_.size(); }
  std::size_t waiting() const noexcept { return waiting_.size(); }

 private:
  struct Entry {
    std::string id;
    bool sealed = false;
    int depth = 0;
    core::Duration keep{};
    Carrier* carrier = nullptr;           ///< null: it waits
    std::unique_ptr<Server> server;
    Loop::TimerId timer = 0;
    std::list<Entry*>::iterator place;    ///< in waiting_, while it waits
  };

  void leave_waiting(Entry& entry);
  void end(Entry& entry);

  Agent& agent_;
  std::unordered_map<std::string, std::unique_ptr<Entry>> entries_;
  std::list<Entry*> waiting_;             ///< longest first
  std::unordered_map<Carrier*, Entry*> carried_;
  Retired retired_;                       ///< ended: their servers may be on the stack; last, see the destructor
};

}  // namespace sandbox::agent
