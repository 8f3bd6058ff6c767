#include "crypto/secure_channel.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include <sodium.h>

#include "crypto/aes_gcm.hpp"
#include "crypto/key_pair.hpp"
#include "crypto/secret.hpp"
#include "crypto/raw.hpp"

namespace sandbox::crypto {
namespace {

constexpr std::string_view kScheme = "sandbox.v2 sealed 1: X25519, HKDF-SHA256, AES-256-GCM";
constexpr std::string_view kMagic = "sbx2";
constexpr std::size_t kMaxVersions = 16;
constexpr std::size_t kMaxContext = 1024;

enum class RecordType : std::uint8_t { client_hello = 1, agent_hello = 2, client_confirm = 3, data = 4, close = 5 };

using Hash = std::array<std::byte, 32>;

void put64(std::byte* out, std::uint64_t value) noexcept {
  for (int i = 0; i < 8; ++i) out[i] = static_cast<std::byte>(value >> (8 * i));
}
void put_header(std::byte* out, RecordType type, std::size_t length) noexcept {
  for (int i = 0; i < 4; ++i) out[i] = static_cast<std::byte>(length >> (8 * i));
  out[4] = static_cast<std::byte>(type);
  out[5] = out[6] = out[7] = std::byte{0};
}

void hmac(ByteView key, ByteView first, ByteView second, std::byte* out) noexcept {
  crypto_auth_hmacsha256_state state;
  crypto_auth_hmacsha256_init(&state, raw(key.data()), key.size());
  crypto_auth_hmacsha256_update(&state, raw(first.data()), first.size());
  crypto_auth_hmacsha256_update(&state, raw(second.data()), second.size());
  crypto_auth_hmacsha256_final(&state, raw(out));
  sodium_memzero(&state, sizeof state);
}

/// HKDF-SHA256 (RFC 5869) with salt `chain` and no info; the first 32 bytes go to `a`, the next to `b`.
void derive(ByteView chain, ByteView material, std::byte* a, std::byte* b) noexcept {
  Hash extracted;
  hmac(chain, material, {}, extracted.data());
  const std::byte one{1}, two{2};
  std::byte first[32];
  hmac(extracted, {&one, 1}, {}, first);
  if (b) hmac(extracted, first, {&two, 1}, b);
  std::memcpy(a, first, sizeof first);
  wipe(first);
  wipe(extracted);
}

/// Bytes without the zero-filling of std::vector.
class Buffer {
 public:
  std::byte* data() noexcept { return memory_.get() + begin_; }
  const std::byte* data() const noexcept { return memory_.get() + begin_; }
  std::size_t size() const noexcept { return end_ - begin_; }
  ByteView view() const noexcept { return {data(), size()}; }
  /// Room for `more` bytes behind the content.
  std::byte* room(std::size_t more) {
    if (begin_ == end_) begin_ = end_ = 0;
    if (capacity_ - end_ < more) grow(more);
    return memory_.get() + end_;
  }
  void commit(std::size_t count) noexcept { end_ += count; }
  void append(ByteView bytes) {
    std::memcpy(room(bytes.size()), bytes.data(), bytes.size());
    commit(bytes.size());
  }
  void consume(std::size_t count) noexcept { begin_ += std::min(count, size()); }
  void clear() noexcept { begin_ = end_ = 0; }

 private:
  void grow(std::size_t more) {
    const std::size_t held = size();
    const std::size_t capacity = std::max(held + more, std::min<std::size_t>(2 * capacity_, held + more + kMaxPlain));
    std::unique_ptr<std::byte[]> memory(new std::byte[capacity]);
    if (held > 0) std::memcpy(memory.get(), data(), held);
    memory_ = std::move(memory);
    capacity_ = capacity;
    begin_ = 0;
    end_ = held;
  }
  std::unique_ptr<std::byte[]> memory_;
  std::size_t capacity_ = 0, begin_ = 0, end_ = 0;
};

/// Everything secret of a channel, on one locked page.
struct Secrets {
  struct Direction {
    GcmKey schedule;  // of `key`
    std::byte key[32];
  } send, receive;
  GcmKey once;
  std::byte chain[32];
  std::byte scratch[32], scratch2[32];
};

struct AdditionalData {
  std::byte bytes[kRecordHeader + 8];
};

}  // namespace

struct SecureChannel::Impl {
  enum class State : std::uint8_t { wait_client_hello, wait_agent_hello, wait_confirm, open, failed };

  bool is_client = false;
  GcmKernel kernel = GcmKernel::none;
  State state = State::failed;
  std::optional<ClientTrust> client;
  std::optional<AgentTrust> agent;
  std::optional<KeyPair> ephemeral;
  std::optional<PublicKey> agent_key;
  SecretBytes memory;
  Hash transcript{};
  std::uint64_t send_sequence = 0, receive_sequence = 0;
  std::uint64_t rekey_records = kRekeyRecords;
  bool closed = false, peer_closed = false;
  std::optional<Error> error;
  Buffer out, in, plain;

  ~Impl() {
    if (error) error->ignore("kept to answer later calls");
  }

  Secrets& secrets() noexcept { return *reinterpret_cast<Secrets*>(memory.bytes().data()); }

  void mix_hash(ByteView bytes) noexcept {
    crypto_hash_sha256_state hash;
    crypto_hash_sha256_init(&hash);
    crypto_hash_sha256_update(&hash, raw(transcript.data()), transcript.size());
    crypto_hash_sha256_update(&hash, raw(bytes.data()), bytes.size());
    crypto_hash_sha256_final(&hash, raw(transcript.data()));
  }
  /// chain, key = HKDF(chain, material)
  void mix_key(ByteView material, std::byte* key) noexcept {
    Secrets& s = secrets();
    std::byte next[32];
    derive({s.chain, 32}, material, next, key);
    std::memcpy(s.chain, next, sizeof next);
    wipe(next);
  }
  /// Handshake encryption: key used once, nonce zero, the transcript so far as additional data.
  void seal_once(const std::byte* key, ByteView content, std::byte* to) noexcept {
    static constexpr std::byte kNonce[kGcmNonce] = {};
    gcm_expand(secrets().once, key, kernel);
    gcm_seal(secrets().once, kNonce, transcript, content, to);
  }
  bool open_once(const std::byte* key, ByteView sealed, std::byte* to) noexcept {
    static constexpr std::byte kNonce[kGcmNonce] = {};
    gcm_expand(secrets().once, key, kernel);
    return gcm_open(secrets().once, kNonce, transcript, sealed, to);
  }
  ByteView pre_shared() const noexcept {
    static constexpr std::byte kNone[32] = {};
    const auto& key = is_client ? client->key : agent->key;
    return key ? key->reveal() : ByteView(kNone);
  }

  void start() {
    crypto_hash_sha256(raw(transcript.data()), reinterpret_cast<const unsigned char*>(kScheme.data()), kScheme.size());
    std::memcpy(secrets().chain, transcript.data(), transcript.size());
    mix_hash(as_bytes(is_client ? client->context : agent->context));
    state = is_client ? State::wait_agent_hello : State::wait_client_hello;
    if (agent) agent_key = agent->identity.key_pair().public_key();
    if (is_client) say_client_hello();
  }

  // -- handshake --------------------------------------------------------------------------------------------------------

  void say_client_hello() {
    const std::size_t length = kMagic.size() + 2 + kKeySize;
    std::byte* record = out.room(kRecordHeader + length);
    put_header(record, RecordType::client_hello, length);
    std::byte* at = record + kRecordHeader;
    std::memcpy(at, kMagic.data(), kMagic.size());
    at += kMagic.size();
    *at++ = std::byte{1};  // one version offered
    *at++ = static_cast<std::byte>(kSealVersion);
    std::memcpy(at, ephemeral->public_key().data(), kKeySize);
    mix_hash({record, kRecordHeader + length});
    out.commit(kRecordHeader + length);
  }

  Result<void> hear_client_hello(ByteView record) {
    const ByteView body = record.subspan(kRecordHeader);
    const std::size_t fixed = kMagic.size() + 1;
    if (body.size() < fixed || as_text(body.first(kMagic.size())) != kMagic) return broken("not a sealed stream");
    const auto versions = std::to_integer<std::size_t>(body[kMagic.size()]);
    if (versions == 0 || versions > kMaxVersions || body.size() != fixed + versions + kKeySize) {
      return broken("malformed client hello");
    }
    const ByteView offered = body.subspan(fixed, versions);
    if (std::find(offered.begin(), offered.end(), static_cast<std::byte>(kSealVersion)) == offered.end()) {
      return Error(ErrorCode::unsupported, "the client offers no version of sealing that is known here");
    }
    PublicKey theirs;
    std::memcpy(theirs.data(), body.data() + fixed + versions, kKeySize);
    mix_hash(record);
    return say_agent_hello(theirs);
  }

  Result<void> say_agent_hello(const PublicKey& client_ephemeral) {
    Secrets& s = secrets();
    const std::size_t length = 1 + kKeySize + (kKeySize + kTag) + kTag;
    std::byte* record = out.room(kRecordHeader + length);
    put_header(record, RecordType::agent_hello, length);
    std::byte* at = record + kRecordHeader;
    *at++ = static_cast<std::byte>(kSealVersion);
    std::memcpy(at, ephemeral->public_key().data(), kKeySize);
    at += kKeySize;
    mix_hash({record, static_cast<std::size_t>(at - record)});

    SANDBOX_CHECK(ephemeral->agree(client_ephemeral, {s.scratch, 32}));
    mix_key({s.scratch, 32}, s.scratch2);
    seal_once(s.scratch2, agent->identity.key_pair().public_key(), at);
    mix_hash({at, kKeySize + kTag});
    at += kKeySize + kTag;

    SANDBOX_CHECK(agent->identity.key_pair().agree(client_ephemeral, {s.scratch, 32}));
    mix_key({s.scratch, 32}, s.scratch2);
    mix_key(pre_shared(), s.scratch2);
    seal_once(s.scratch2, {}, at);
    mix_hash({at, kTag});
    out.commit(kRecordHeader + length);
    state = State::wait_confirm;
    return {};
  }

  Result<void> hear_agent_hello(ByteView record) {
    Secrets& s = secrets();
    const std::size_t length = 1 + kKeySize + (kKeySize + kTag) + kTag;
    if (record.size() != kRecordHeader + length) return broken("malformed agent hello");
    if (record[kRecordHeader] != static_cast<std::byte>(kSealVersion)) return broken("the agent chose what was not offered");
    const std::byte* at = record.data() + kRecordHeader + 1;
    PublicKey theirs;
    std::memcpy(theirs.data(), at, kKeySize);
    at += kKeySize;
    mix_hash({record.data(), static_cast<std::size_t>(at - record.data())});

    SANDBOX_CHECK(ephemeral->agree(theirs, {s.scratch, 32}));
    mix_key({s.scratch, 32}, s.scratch2);
    PublicKey identity;
    if (!open_once(s.scratch2, {at, kKeySize + kTag}, identity.data())) return broken("the handshake was changed on its way");
    mix_hash({at, kKeySize + kTag});
    at += kKeySize + kTag;
    if (client->pin && !same(client->pin->bytes(), fingerprint_of(identity).bytes())) {
      return Error(ErrorCode::unauthenticated, "the agent is not the pinned one: it has " +
                                                   fingerprint_of(identity).to_string());
    }

    SANDBOX_CHECK(ephemeral->agree(identity, {s.scratch, 32}));
    mix_key({s.scratch, 32}, s.scratch2);
    mix_key(pre_shared(), s.scratch2);
    if (!open_once(s.scratch2, {at, kTag}, s.scratch)) {
      return Error(ErrorCode::unauthenticated, "the agent does not prove its key, or has another pre-shared key or context");
    }
    mix_hash({at, kTag});
    agent_key = identity;

    std::byte* confirm = out.room(kRecordHeader + kTag);
    put_header(confirm, RecordType::client_confirm, kTag);
    mix_hash({confirm, kRecordHeader});
    mix_key(transcript, s.scratch2);
    seal_once(s.scratch2, {}, confirm + kRecordHeader);
    mix_hash({confirm + kRecordHeader, kTag});
    out.commit(kRecordHeader + kTag);
    open();
    return {};
  }

  Result<void> hear_confirm(ByteView record) {
    Secrets& s = secrets();
    if (record.size() != kRecordHeader + kTag) return broken("malformed confirmation");
    mix_hash(record.first(kRecordHeader));
    mix_key(transcript, s.scratch2);
    if (!open_once(s.scratch2, record.subspan(kRecordHeader), s.scratch)) {
      return Error(ErrorCode::unauthenticated, "the client does not prove its keys");
    }
    mix_hash(record.subspan(kRecordHeader));
    open();
    return {};
  }

  void open() {
    Secrets& s = secrets();
    derive({s.chain, 32}, transcript, is_client ? s.send.key : s.receive.key, is_client ? s.receive.key : s.send.key);
    schedule(s.send);
    schedule(s.receive);
    wipe({reinterpret_cast<std::byte*>(&s.once), sizeof s.once});
    wipe(s.chain);
    wipe(s.scratch);
    wipe(s.scratch2);
    ephemeral.reset();
    client.reset();
    agent.reset();
    state = State::open;
  }

  void schedule(Secrets::Direction& direction) noexcept { gcm_expand(direction.schedule, direction.key, kernel); }

  // -- records ----------------------------------------------------------------------------------------------------------

  /// What both ends do before record `sequence` of a direction.
  void turn_key(Secrets::Direction& direction, std::uint64_t sequence) noexcept {
    if (sequence == 0 || sequence % rekey_records != 0) return;
    derive({direction.key, 32}, as_bytes("rekey"), direction.key, nullptr);
    schedule(direction);
  }
  static AdditionalData additional(const std::byte* header, std::uint64_t sequence) noexcept {
    AdditionalData data;
    std::memcpy(data.bytes, header, kRecordHeader);
    put64(data.bytes + kRecordHeader, sequence);
    return data;
  }

  Result<void> add_record(RecordType type, ByteView content) {
    if (send_sequence >= kMaxRecords) return Error(ErrorCode::resource_exhausted, "the sealed stream is used up");
    Secrets::Direction& direction = secrets().send;
    turn_key(direction, send_sequence);
    std::byte* record = out.room(kRecordHeader + content.size() + kTag);
    put_header(record, type, content.size() + kTag);
    const AdditionalData data = additional(record, send_sequence);
    std::byte nonce[kGcmNonce] = {};
    put64(nonce + 4, send_sequence);
    gcm_seal(direction.schedule, nonce, data.bytes, content, record + kRecordHeader);
    out.commit(kRecordHeader + content.size() + kTag);
    ++send_sequence;
    return {};
  }

  /// Opens `record` into `to`, which may be where its content starts.
  bool open_record(ByteView record, std::byte* to) noexcept {
    Secrets::Direction& direction = secrets().receive;
    turn_key(direction, receive_sequence);
    const AdditionalData data = additional(record.data(), receive_sequence);
    std::byte nonce[kGcmNonce] = {};
    put64(nonce + 4, receive_sequence);
    ++receive_sequence;
    return gcm_open(direction.schedule, nonce, data.bytes, record.subspan(kRecordHeader), to);
  }

  static Error broken(const char* what) { return Error(ErrorCode::protocol, what); }

  /// Bytes of the whole record whose header `head` is. Errors: protocol, when no such record may come now.
  Result<std::size_t> measure(ByteView head) const {
    std::size_t length = 0;
    for (int i = 0; i < 4; ++i) length |= std::to_integer<std::size_t>(head[i]) << (8 * i);
    const auto type = static_cast<RecordType>(head[4]);
    if (head[5] != std::byte{0} || head[6] != std::byte{0} || head[7] != std::byte{0}) return broken("malformed record");
    bool expected = false;
    std::size_t least = 1, most = kMaxHandshake;
    switch (type) {
      case RecordType::client_hello: expected = state == State::wait_client_hello; break;
      case RecordType::agent_hello: expected = state == State::wait_agent_hello; break;
      case RecordType::client_confirm: expected = state == State::wait_confirm; break;
      case RecordType::data:
        expected = state == State::open;
        least = kTag + 1;
        most = kTag + kMaxPlain;
        break;
      case RecordType::close:
        expected = state == State::open;
        least = most = kTag;
        break;
    }
    if (!expected || peer_closed) return broken("unexpected record");
    if (length < least || length > most) return broken("record of a wrong size");
    return kRecordHeader + length;
  }

  Result<void> handle(ByteView record, std::byte* to, Result<void> (*sink)(void*, ByteView), void* target) {
    switch (static_cast<RecordType>(record[4])) {
      case RecordType::client_hello: return hear_client_hello(record);
      case RecordType::agent_hello: return hear_agent_hello(record);
      case RecordType::client_confirm: return hear_confirm(record);
      case RecordType::data:
        if (!open_record(record, to)) return broken("a record was changed, repeated, reordered or lost");
        return sink(target, {to, record.size() - kRecordHeader - kTag});
      case RecordType::close:
        if (!open_record(record, to)) return broken("a record was changed, repeated, reordered or lost");
        peer_closed = true;
        return {};
    }
    return {};
  }

  Result<void> receive(ByteView wire, Result<void> (*sink)(void*, ByteView), void* target) {
    if (error) return *error;
    while (!wire.empty()) {
      Result<void> step;
      if (in.size() == 0 && wire.size() >= kRecordHeader) {
        auto size = measure(wire);
        if (!size) return fail(size.error());
        if (wire.size() >= *size) {
          plain.clear();
          step = handle(wire.first(*size), plain.room(*size), sink, target);
          wire = wire.subspan(*size);
          if (!step) return fail(step.error());
          continue;
        }
      }
      // A record that comes in pieces is put together, then opened where it lies. Memory grows with what arrives.
      std::size_t wanted = kRecordHeader;
      if (in.size() >= kRecordHeader) {
        auto size = measure(in.view());
        if (!size) return fail(size.error());
        wanted = *size;
      }
      const std::size_t part = std::min(wanted - in.size(), wire.size());
      in.append(wire.first(part));
      wire = wire.subspan(part);
      if (wanted == kRecordHeader || in.size() < wanted) {
        if (in.size() == kRecordHeader && wanted == kRecordHeader) {
          if (auto size = measure(in.view()); !size) return fail(size.error());
        }
        continue;
      }
      step = handle(in.view(), in.data() + kRecordHeader, sink, target);
      in.clear();
      if (!step) return fail(step.error());
    }
    return {};
  }

  Result<void> fail(Error why) {
    state = State::failed;
    why.ignore("kept to answer later calls");
    error = std::move(why);
    wipe(memory.bytes());
    out.clear();
    return *error;
  }
};

Dialect dialect_of(ByteView first) noexcept {
  // A length, 1 (a hello), three zeros: so far both look the same. What fits neither is left to the session to refuse.
  static constexpr std::byte kHello[] = {std::byte{1}, std::byte{0}, std::byte{0}, std::byte{0}};
  for (std::size_t i = 0; i < sizeof kHello; ++i) {
    if (first.size() <= 4 + i) return Dialect::undecided;
    if (first[4 + i] != kHello[i]) return Dialect::plain;
  }
  if (first.size() < kDialectBytes) return Dialect::undecided;
  return first[kDialectBytes - 1] == static_cast<std::byte>(kMagic[0]) ? Dialect::sealed : Dialect::plain;
}

SecureChannel::SecureChannel(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SecureChannel::SecureChannel(SecureChannel&&) noexcept = default;
SecureChannel& SecureChannel::operator=(SecureChannel&&) noexcept = default;
SecureChannel::~SecureChannel() = default;

Result<SecureChannel> SecureChannel::make(ClientTrust* client, AgentTrust* agent, ByteView ephemeral) {
  // Finds out what the CPU can do; costs a few CPUID instructions, which a hypervisor emulates, so only sealing pays.
  if (sodium_init() < 0) return Error(ErrorCode::internal, "libsodium does not start");
  static const GcmKernel kernel = best_gcm_kernel();
  if (kernel == GcmKernel::none) {
    return Error(ErrorCode::unsupported, "sealed sessions need a CPU with AES and carry-less multiplication instructions");
  }
  if ((client ? client->context : agent->context).size() > kMaxContext) {
    return Error(ErrorCode::invalid_argument, "the context of a sealed session is too long");
  }
  auto impl = std::make_unique<Impl>();
  impl->is_client = client != nullptr;
  impl->kernel = kernel;
  if (client) impl->client.emplace(std::move(*client));
  if (agent) impl->agent.emplace(std::move(*agent));
  if (ephemeral.empty()) {
    SANDBOX_TRY(KeyPair pair, KeyPair::generate());
    impl->ephemeral.emplace(std::move(pair));
  } else {
    SANDBOX_TRY(KeyPair pair, KeyPair::from_private_key(ephemeral));
    impl->ephemeral.emplace(std::move(pair));
  }
  SANDBOX_TRY(impl->memory, SecretBytes::zeroed(sizeof(Secrets)));
  impl->start();
  return SecureChannel(std::move(impl));
}

Result<SecureChannel> SecureChannel::client(ClientTrust trust) { return make(&trust, nullptr, {}); }
Result<SecureChannel> SecureChannel::agent(AgentTrust trust) { return make(nullptr, &trust, {}); }
Result<SecureChannel> SecureChannel::client_with(ClientTrust trust, ByteView ephemeral) {
  return make(&trust, nullptr, ephemeral);
}
Result<SecureChannel> SecureChannel::agent_with(AgentTrust trust, ByteView ephemeral) {
  return make(nullptr, &trust, ephemeral);
}

Result<void> SecureChannel::receive_erased(ByteView wire, Result<void> (*sink)(void*, ByteView), void* target) {
  return impl_->receive(wire, sink, target);
}

Result<void> SecureChannel::finish() const {
  if (impl_->error) return *impl_->error;
  if (!impl_->peer_closed) return Error(ErrorCode::unavailable, "the sealed stream was cut off");
  return {};
}

ByteView SecureChannel::output() const noexcept { return impl_->out.view(); }
void SecureChannel::sent(std::size_t count) noexcept { impl_->out.consume(count); }

Result<void> SecureChannel::seal(ByteView content) {
  if (impl_->error) return *impl_->error;
  if (impl_->state != Impl::State::open || impl_->closed) {
    return Error(ErrorCode::failed_precondition, "the sealed stream is not open");
  }
  while (!content.empty()) {
    const ByteView part = content.first(std::min(content.size(), kMaxPlain));
    content = content.subspan(part.size());
    SANDBOX_CHECK(impl_->add_record(RecordType::data, part));
  }
  return {};
}

Result<void> SecureChannel::close() {
  if (impl_->error) return *impl_->error;
  if (impl_->state != Impl::State::open) return Error(ErrorCode::failed_precondition, "the sealed stream is not open");
  if (std::exchange(impl_->closed, true)) return {};
  return impl_->add_record(RecordType::close, {});
}

bool SecureChannel::established() const noexcept { return impl_->state == Impl::State::open; }
bool SecureChannel::peer_closed() const noexcept { return impl_->peer_closed; }
Fingerprint SecureChannel::fingerprint() const { return fingerprint_of(impl_->agent_key.value_or(PublicKey{})); }
ByteView SecureChannel::transcript() const noexcept { return impl_->transcript; }
void SecureChannel::rekey_after(std::uint64_t records) noexcept { impl_->rekey_records = std::max<std::uint64_t>(records, 1); }

}  // namespace sandbox::crypto
