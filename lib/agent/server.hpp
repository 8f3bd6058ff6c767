#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/environment.hpp"
#include "agent/operation.hpp"
#include "agent/scratch.hpp"
#include "core/unique_fd.hpp"
#include "session/endpoint.hpp"

/// Serving clients: what all sessions of one agent share (Agent), one session (Server), one socket (SocketServer).
/// Everything here runs on the thread of one Loop.
namespace sandbox::agent {

class Children;
class ExecTable;
class Sessions;

/// What every session with this agent shares. Outlives all servers.
class Agent {
 public:
  struct Settings {
    Environment environment;      ///< of commands, unless they bring their own; changed by env_set and env_unset
    std::string workdir = "/";    ///< absolute; of commands that name none
    core::UniqueFd oom_counter;   ///< a file with a line "oom_kill N" (cgroup memory.events or memory.oom_control), or none
    core::UniqueFd oom_score;     ///< /proc/self/oom_score_adj open for writing, where /proc is read-only; or none
    bool looks = false;           ///< may look for the next request before it sleeps (ADR 0015): has a whole processor
    std::uint64_t open_files = 0; ///< most descriptors of a command (RLIMIT_NOFILE); 0: as many as the agent's own
  };
  Agent(Loop& loop, Settings settings);
  ~Agent();
  Agent(const Agent&) = delete;

  Loop& loop() noexcept { return loop_; }
  Environment& environment() noexcept { return settings_.environment; }
  const std::string& workdir() const noexcept { return settings_.workdir; }
  std::uint64_t open_files() const noexcept { return settings_.open_files; }
  /// Processes started by this agent and those it inherits; reaps them all.
  Children& children() noexcept { return *children_; }
  /// Idempotent execs.
  ExecTable& execs() noexcept { return *execs_; }
  /// What outlives the streams and transports of clients: the v1 dialect's state, resumable sessions. Made at first use.
  Sessions& sessions();
  /// OOM kills in this sandbox so far; 0 when nobody counts.
  std::uint32_t oom_kills() const noexcept;

  /// /dev/null, open for reading and writing; -1 when this sandbox has none.
  int null_device() noexcept;

  /// This agent's end of a sealed stream. Its key pair is made for the first one and lives as long as the agent: nobody
  /// told the client of it, so a client that pins nothing is private against those who listen (docs/PROTOCOL.md).
  Result<crypto::SecureChannel> sealed_channel();

  /// 256 KiB for one read or write; see Scratch. Do not hold it across a return to the loop.
  Scratch& scratch() noexcept { return scratch_; }

 private:
  friend class Server;
  friend class SocketServer;
  void operation_started(const Operation& operation) noexcept { operations_ += operation.works() ? 1 : 0; }
  void operation_ended(const Operation& operation) noexcept;
  /// A little was heard or said: the next request is likely close behind, and with nothing under way nobody needs the processor.
  void conversed() noexcept;

  Loop& loop_;
  Settings settings_;
  core::UniqueFd null_;
  std::optional<Identity> identity_;
  Scratch scratch_{256 << 10};
  Scratch received_{256 << 10};   ///< bytes on their way into a session: handlers use scratch_ meanwhile
  std::unique_ptr<Children> children_;
  std::unique_ptr<ExecTable> execs_;
  std::size_t operations_ = 0;   ///< that work
  std::unique_ptr<Sessions> sessions_;   ///< last: its operations use everything above
};

/// One session: makes operations for what the client opens and frees them. Knows no file descriptor: bytes are pushed in
/// with receive() and leave through `write`, so that it also serves a session nested in a stream of another.
/// Plain or sealed as the client chooses: nothing is said before its first bytes tell which.
class Server final : public session::SessionHandler {
 public:
  /// Takes a prefix of the bytes and returns its length; 0: full, flush() is called when there is room.
  using Write = std::function<std::size_t(ByteView)>;
  static constexpr int kMaxDepth = 4;   ///< sessions in sessions

  /// `agent` must outlive the server. `depth` is 0 for a session that is not nested.
  Server(Agent& agent, session::Options options, Write write, int depth = 0);
  /// Operations still running are destroyed.
  ~Server() override;
  Server(const Server&) = delete;

  Agent& agent() noexcept { return agent_; }
  session::Session& session() noexcept { return session_; }
  int depth() const noexcept { return depth_; }

  /// A server without a transport gets one (its first, or another for a session that resumes): `channel` when it is
  /// sealed, and what the client has said on it already, its hello at least. Errors as receive().
  Result<void> connected(Write write, std::optional<crypto::SecureChannel> channel, ByteView said);
  /// The transport is gone; the session waits for another (Session::disconnected). Operations go on.
  void disconnected();
  /// Whether the client said that it needs the session no longer, or broke it.
  bool closed_by_client() const noexcept;

  /// Bytes from the peer. An error ended the session and every operation.
  Result<void> receive(ByteView bytes);
  /// Writes what is queued, as far as `write` takes it. Runs by itself before the loop sleeps, so that everything a turn
  /// produced leaves together. Not to be called from inside an operation. Returns how many bytes it wrote.
  std::size_t flush();
  /// Whether bytes wait for `write` to have room.
  bool blocked() const noexcept { return blocked_; }
  /// Ends the session and every operation.
  void close(const Error& error);
  std::size_t operations() const noexcept { return operations_.size(); }

  session::StreamHandler* on_open(session::StreamId stream, protocol::Method method, ByteView params,
                                  std::string_view idempotency_key) override;
  void on_stream_closed(session::StreamId stream) override;

 private:
  Result<void> feed(ByteView bytes);
  void schedule_tick();
  void free_operations();
  void run_first();

  Agent& agent_;
  Write write_;
  int depth_;
  std::unordered_map<session::StreamId, std::unique_ptr<Operation>> operations_;
  std::vector<std::unique_ptr<Operation>> closed_;   ///< freed outside of session callbacks
  std::uint64_t hook_ = 0;
  Loop::TimerId tick_timer_ = 0;
  core::TimePoint tick_at_ = core::TimePoint::max();
  bool blocked_ = false;
  std::size_t heard_ = 0;      ///< bytes since the hook ran
  session::Session session_;   ///< destroyed early, while operations_ still exist
  std::byte first_[crypto::kDialectBytes] = {};   ///< what came before the dialect was known
  std::size_t first_size_ = 0;
  std::optional<session::Endpoint> endpoint_;     ///< the session's bytes as they travel; none until then
};

/// A Server on a connected stream socket.
class SocketServer {
 public:
  /// `lost` is called once, from the loop, when the peer is gone or broke the rules. It may destroy this object only
  /// later (Loop::defer).
  SocketServer(Agent& agent, core::UniqueFd socket, session::Options options, std::function<void(const Error&)> lost);
  ~SocketServer();
  SocketServer(const SocketServer&) = delete;

  /// Starts listening. Errors: those of epoll_ctl(2).
  Result<void> start();
  Server& server() noexcept { return *server_; }

 private:
  std::size_t write(ByteView bytes);
  void ready(std::uint32_t events);
  void lose(const Error& error);

  Agent& agent_;
  core::UniqueFd socket_;
  std::function<void(const Error&)> lost_;
  std::unique_ptr<Server> server_;
  bool wants_room_ = false;
};

/// Options of an agent's end of a session: software name and a fresh random session id.
session::Options session_options();

}  // namespace sandbox::agent
