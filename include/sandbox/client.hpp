#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <sandbox/bytes.hpp>
#include <sandbox/key.hpp>
#include <sandbox/result.hpp>
#include <sandbox/sandbox.hpp>
#include <sandbox/service.hpp>

namespace sandbox {

namespace client {
class ClientState;  // lib/client
class EventSource;
}  // namespace client

/// An Ed25519 key that signs requests for a daemon with several tenants. Copies share it; it lies in locked memory.
class SigningKey {
 public:
  /// Errors: internal, when the kernel gives no random bytes or no memory.
  static Result<SigningKey> generate();
  /// From the private seed of 32 bytes. Errors: invalid_argument.
  static Result<SigningKey> from_seed(ByteView seed);
  /// Base64 of the raw public key, as the daemon's configuration wants it.
  std::string public_key() const;
  /// 64 bytes.
  Bytes sign(std::string_view text) const;

 private:
  explicit SigningKey(std::shared_ptr<const crypto::SecretBytes> secret) : secret_(std::move(secret)) {}
  std::shared_ptr<const crypto::SecretBytes> secret_;
};

/// Who a client says it is to a daemon with several tenants. The limits are part of what is signed; 0: none.
struct Tenant {
  std::string name;
  SigningKey key;
  std::uint32_t max_concurrent = 0;
  std::chrono::seconds max_ttl{0};
  std::uint32_t max_templates = 0;
};

/// How to reach a daemon.
class ClientOptions {
 public:
  ClientOptions() = default;

  /// Sent as "Authorization: Bearer …". Never logged.
  ClientOptions& token(std::string secret) & { return token_ = std::move(secret), *this; }
  ClientOptions&& token(std::string s) && { return std::move(token(std::move(s))); }
  ClientOptions& tenant(Tenant who) & { return tenant_ = std::move(who), *this; }
  ClientOptions&& tenant(Tenant w) && { return std::move(tenant(std::move(w))); }
  /// PEM file of the authorities to trust for https. Default: the system's.
  ClientOptions& ca_file(std::string path) & { return ca_file_ = std::move(path), *this; }
  ClientOptions&& ca_file(std::string p) && { return std::move(ca_file(std::move(p))); }
  /// How long to wait for the answer of a request that names no time of its own. Default 30 s.
  ClientOptions& timeout(std::chrono::milliseconds time) & { return timeout_ = time, *this; }
  ClientOptions&& timeout(std::chrono::milliseconds t) && { return std::move(timeout(t)); }
  /// How long operations on a sandbox wait for a lost connection to come back before they fail with unavailable. It is
  /// tried again at once and then after pauses of 10 ms to 1 s. Zero: never. Default 30 s.
  ClientOptions& reconnect(std::chrono::milliseconds window) & { return reconnect_ = window, *this; }
  ClientOptions&& reconnect(std::chrono::milliseconds w) && { return std::move(reconnect(w)); }
  /// A connection that is silent so long is asked for a sign of life; after three more it counts as lost. Default 5 s.
  ClientOptions& heartbeat(std::chrono::milliseconds interval) & { return heartbeat_ = interval, *this; }
  ClientOptions&& heartbeat(std::chrono::milliseconds i) && { return std::move(heartbeat(i)); }
  /// Compresses file contents and output on their way (zstd): for slow networks.
  ClientOptions& compress(bool on = true) & { return compress_ = on, *this; }
  ClientOptions&& compress(bool on = true) && { return std::move(compress(on)); }

  const std::string& token() const noexcept { return token_; }
  const std::optional<Tenant>& tenant() const noexcept { return tenant_; }
  const std::string& ca_file() const noexcept { return ca_file_; }
  std::chrono::milliseconds timeout() const noexcept { return timeout_; }
  std::chrono::milliseconds reconnect() const noexcept { return reconnect_; }
  std::chrono::milliseconds heartbeat() const noexcept { return heartbeat_; }
  bool is_compressed() const noexcept { return compress_; }

 private:
  std::string token_;
  std::optional<Tenant> tenant_;
  std::string ca_file_;
  std::chrono::milliseconds timeout_{30000};
  std::chrono::milliseconds reconnect_{30000};
  std::chrono::milliseconds heartbeat_{5000};
  bool compress_ = false;
};

/// How to attach to a sandbox that exists.
class OpenOptions {
 public:
  OpenOptions() = default;
  /// Seals the session end to end: the daemon carries bytes that it cannot read. Without a pin the first agent that
  /// answers is trusted, and must stay the same for the life of the handle.
  OpenOptions& sealed(bool on = true) & { return sealed_ = on, *this; }
  OpenOptions&& sealed(bool on = true) && { return std::move(sealed(on)); }
  /// Seals, and accepts only the agent with this key: take it from Sandbox::agent_fingerprint() of a handle you trust.
  OpenOptions& pin(Fingerprint agent) & { return pin_ = agent, sealed_ = true, *this; }
  OpenOptions&& pin(Fingerprint a) && { return std::move(pin(a)); }

  bool is_sealed() const noexcept { return sealed_; }
  const std::optional<Fingerprint>& pin() const noexcept { return pin_; }

 private:
  bool sealed_ = false;
  std::optional<Fingerprint> pin_;
};

/// Events of a daemon as they happen. One thread reads; cancel() from any. Move-only.
class EventStream {
 public:
  EventStream(EventStream&&) noexcept;
  EventStream& operator=(EventStream&&) noexcept;
  ~EventStream();
  /// The next event; nothing when `timeout` passed without one. After a lost connection it connects again and goes on
  /// where it was. Errors: cancelled, unavailable (for longer than ClientOptions::reconnect), resource_exhausted (too many
  /// subscribers).
  Result<std::optional<ServiceEvent>> next(std::chrono::milliseconds timeout = std::chrono::milliseconds::max());
  /// Events between those seen were lost so far: the daemon keeps only so many, or started anew.
  bool gap() const noexcept;
  /// Makes the current and later next() fail with cancelled. Thread-safe.
  void cancel() noexcept;

  explicit EventStream(std::unique_ptr<client::EventSource> source) noexcept;

 private:
  std::unique_ptr<client::EventSource> source_;
};

/// Sandboxes of a daemon, on this machine or another: the remote counterpart of Runtime, with the same member names where
/// they mean the same, so that a template can take either. Move-only, thread-safe. Sandboxes must not outlive it.
/// Errors of every call besides its own: unavailable (no daemon, or the connection broke), deadline_exceeded,
/// unauthenticated, permission_denied, resource_exhausted (limits and rates; retry after a pause), protocol,
/// failed_precondition (on the client's own thread, where nothing may block).
class Client {
 public:
  /// $SANDBOX_HOST, else unix:///var/run/sandboxd/sandboxd.sock.
  static std::string default_endpoint();
  /// `endpoint`: "unix:///path", "http://host:port" or "https://host:port", with an optional path prefix. Asks for the
  /// daemon's health once, so that a wrong address shows here.
  /// Errors: invalid_argument (endpoint), not_found (CA file), unsupported (the daemon does not speak v2).
  static Result<Client> connect(const std::string& endpoint = default_endpoint(), ClientOptions options = ClientOptions());
  Client(Client&&) noexcept;
  Client& operator=(Client&&) noexcept;
  ~Client();

  /// A sandbox of the daemon's default profile, of a spec, or as asked. It returns when the daemon has made the sandbox;
  /// the session is being connected then, and the first operation waits for it.
  /// Errors: not_found (profile, template, image), invalid_argument, resource_exhausted (capacity), permission_denied
  /// (a spec that the daemon's policy forbids), failed_precondition (a limit its host cannot enforce).
  Result<Sandbox> create();
  Result<Sandbox> create(const SandboxSpec& spec, CreateOptions options = CreateOptions());
  Result<Sandbox> create(const CreateRequest& request, CreateOptions options = CreateOptions());
  template <class Token> auto async_create(CreateRequest request, Token&& token);  ///< <sandbox/asio/client.hpp>
  template <class Token> auto async_create(CreateRequest request, CreateOptions options, Token&& token);

  /// Attaches to a sandbox that exists. Its handle does not destroy it when it goes; close() does.
  /// Errors: not_found, unauthenticated (the agent has another key than the pinned one; told by the first operation).
  Result<Sandbox> open(const std::string& id, OpenOptions options = OpenOptions());
  /// Those that have all the `labels`.
  Result<std::vector<SandboxInfo>> list(const Labels& labels = {});
  Result<SandboxInfo> find(const std::string& id);
  /// Destroys a sandbox. Errors: not_found.
  Result<void> remove(const std::string& id);

  Result<std::vector<ServiceTemplate>> templates();
  Result<ServiceTemplate> find_template(const std::string& id);
  Result<void> remove_template(const std::string& id);

  Result<std::vector<ProfileInfo>> profiles();
  /// Only over the unix socket, like set_warm and flush: permission_denied elsewhere.
  Result<std::vector<PoolInfo>> pools();
  /// Sets how many sandboxes of `profile` are kept ready, and waits until they are.
  Result<void> set_warm(const std::string& profile, std::uint32_t count);
  /// Makes the ready ones anew.
  Result<void> flush(const std::string& profile);
  /// Blocks until every pool holds what it wants. Errors: deadline_exceeded.
  Result<void> wait_warm(std::chrono::milliseconds timeout = std::chrono::seconds(30));

  /// Events from now on, or those after event `after` first.
  Result<EventStream> events(std::optional<std::uint64_t> after = std::nullopt);
  Result<EventHistory> history(std::uint64_t after = 0, std::uint32_t limit = 1000);
  Result<Health> health();
  /// Prometheus text.
  Result<std::string> metrics();

  /// Later calls of the client fail with failed_precondition. Sandboxes it gave out keep their sessions until they are closed,
  /// left or destroyed themselves; with the last of them the client's thread ends. Idempotent.
  Result<void> close();

  explicit Client(std::shared_ptr<client::ClientState> state) noexcept;
  const std::shared_ptr<client::ClientState>& state() const noexcept { return state_; }

 private:
  std::shared_ptr<client::ClientState> state_;
};

}  // namespace sandbox
