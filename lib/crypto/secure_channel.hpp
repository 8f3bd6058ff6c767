#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>

#include <sandbox/bytes.hpp>
#include <sandbox/key.hpp>
#include <sandbox/result.hpp>

/// A sealed byte stream over an unsealed one, the way TLS lies under HTTP: a handshake, then AES-256-GCM records. What
/// carries the records can neither read, change, repeat, reorder nor shorten what is inside. Sans-I/O.
/// Scheme, key schedule and test vectors: docs/PROTOCOL.md, "Sealed sessions".
namespace sandbox::crypto {

inline constexpr std::uint8_t kSealVersion = 1;
inline constexpr std::size_t kRecordHeader = 8;
inline constexpr std::size_t kTag = 16;
inline constexpr std::size_t kMaxPlain = 256 << 10;        ///< content bytes of one record
inline constexpr std::size_t kMaxHandshake = 256;          ///< payload bytes of one handshake record
inline constexpr std::uint64_t kRekeyRecords = 1 << 20;    ///< each direction takes a new key after so many records
inline constexpr std::uint64_t kMaxRecords = std::uint64_t{1} << 48;  ///< hard stop, far from the end of the counter

/// Bytes of a stream after which dialect_of() knows.
inline constexpr std::size_t kDialectBytes = 9;
enum class Dialect : std::uint8_t { undecided, plain, sealed };
/// How the client of a stream speaks, from the first bytes it sent. A plain hello and a sealed one have the same type at
/// the same place; behind it is a stream number of zero, or the word that opens a handshake.
Dialect dialect_of(ByteView first) noexcept;

/// The client's side of the agreement. Without a pin and without a key the stream is private, but whoever answers is
/// trusted: compare fingerprint() afterwards.
struct ClientTrust {
  std::optional<Fingerprint> pin;   ///< accept only the agent with this key
  std::optional<PreSharedKey> key;  ///< accept only an agent that knows this secret
  std::string context;              ///< both ends must state the same; at most 1024 bytes, e.g. the sandbox's id
};
struct AgentTrust {
  Identity identity;
  std::optional<PreSharedKey> key;  ///< accept only clients that know this secret
  std::string context;
};

/// One end of a sealed stream. Move-only, not thread-safe.
class SecureChannel {
 public:
  /// Errors: unsupported (the CPU has no AES or carry-less multiplication), internal.
  static Result<SecureChannel> client(ClientTrust trust);
  static Result<SecureChannel> agent(AgentTrust trust);
  /// The same with a given ephemeral private key of 32 bytes. Only for test vectors: using one twice breaks everything.
  static Result<SecureChannel> client_with(ClientTrust trust, ByteView ephemeral);
  static Result<SecureChannel> agent_with(AgentTrust trust, ByteView ephemeral);
  SecureChannel(SecureChannel&&) noexcept;
  SecureChannel& operator=(SecureChannel&&) noexcept;
  ~SecureChannel();

  /// Bytes from the transport, in any fragmentation. `sink(ByteView) -> Result<void>` gets the content of each record as
  /// soon as it is whole and proven; the view ends with the call. May seal() but not receive().
  /// Errors end the channel: unauthenticated (wrong pin or key), protocol (anything else that is not what the peer
  /// sent), and whatever `sink` answered.
  template <class Sink>
  Result<void> receive(ByteView wire, Sink&& sink) {
    using Target = std::remove_reference_t<Sink>;
    return receive_erased(
        wire, [](void* target, ByteView plain) -> Result<void> { return (*static_cast<Target*>(target))(plain); },
        const_cast<void*>(static_cast<const void*>(std::addressof(sink))));
  }
  /// The transport ended. Errors: unavailable, unless the peer had closed the channel: something may be missing.
  Result<void> finish() const;

  /// Records to send, contiguous; empty when there are none. Valid until the next call.
  ByteView output() const noexcept;
  void sent(std::size_t count) noexcept;

  /// Adds `plain` to output(), as records of at most kMaxPlain. Needs established(). Call it when output() is empty, or
  /// memory grows. Errors: failed_precondition, resource_exhausted (kMaxRecords).
  Result<void> seal(ByteView plain);
  /// Adds the record that says nothing follows. Needs established(); idempotent.
  Result<void> close();

  /// The peer proved that it has the keys; seal() works.
  bool established() const noexcept;
  /// The peer's close arrived.
  bool peer_closed() const noexcept;
  /// Of the agent, which proved it; valid when established().
  Fingerprint fingerprint() const;
  /// SHA-256 of the handshake, the same at both ends and nowhere else; valid when established().
  ByteView transcript() const noexcept;

  /// Tests of rekeying need not send kRekeyRecords records. Both ends alike, before the first record.
  void rekey_after(std::uint64_t records) noexcept;

 private:
  struct Impl;
  explicit SecureChannel(std::unique_ptr<Impl> impl);
  static Result<SecureChannel> make(ClientTrust* client, AgentTrust* agent, ByteView ephemeral);
  Result<void> receive_erased(ByteView wire, Result<void> (*sink)(void*, ByteView), void* target);
  std::unique_ptr<Impl> impl_;
};

}  // namespace sandbox::crypto
