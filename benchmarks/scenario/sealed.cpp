// What sealing a session end to end costs a file transfer. No local backend needs a seal, so both ends stand here: a client
// and an agent session, each on a thread of its own as the two processes would be, joined by a socket pair, with a memory
// file on the agent's side. Plain and sealed differ in nothing but the channel.
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <optional>
#include <poll.h>
#include <stdexcept>
#include <sys/mman.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

#include "core/unique_fd.hpp"
#include "session/endpoint.hpp"

#include "scenario.hpp"

namespace bench {

namespace {

using sandbox::ByteView;
using sandbox::session::Channel;
using sandbox::session::Endpoint;
using sandbox::session::Session;
using sandbox::session::StreamId;

constexpr std::size_t kPiece = 128 << 10;

[[noreturn]] void fail(const std::string& what) { throw std::runtime_error("sealed transfer: " + what); }

/// Serves one fs_write or fs_read of `total` bytes on a memory file.
class Agent : public sandbox::session::SessionHandler, public sandbox::session::StreamHandler {
 public:
  Agent(int file, std::uint64_t total) : file_(file), left_(total) {}
  Session* session = nullptr;

  sandbox::session::StreamHandler* on_open(StreamId stream, sandbox::protocol::Method method, ByteView, std::string_view) override {
    stream_ = stream;
    if (method == sandbox::protocol::Method::fs_read) produce();
    return this;
  }
  void on_data(Channel, ByteView data, bool fin) override {
    if (!data.empty() && ::write(file_, data.data(), data.size()) != static_cast<ssize_t>(data.size())) fail("write");
    session->consumed(stream_, Channel::in, data.size());
    if (fin) session->end(stream_, {});
  }
  void on_writable(Channel) override { produce(); }

 private:
  void produce() {
    while (left_ > 0) {
      const auto room = session->reserve(stream_, Channel::out, std::min<std::uint64_t>(left_, kPiece));
      if (room.empty()) return;
      const auto got = ::read(file_, room.data(), room.size());
      if (got <= 0) fail("read");
      left_ -= static_cast<std::uint64_t>(got);
      session->commit(stream_, Channel::out, static_cast<std::size_t>(got), left_ == 0);
    }
    session->end(stream_, {});
  }

  int file_;
  std::uint64_t left_;
  StreamId stream_ = 0;
};

/// Sends, or receives, `total` bytes.
class Client : public sandbox::session::SessionHandler, public sandbox::session::StreamHandler {
 public:
  Client(const std::vector<std::byte>& bytes, std::uint64_t total, bool upload) : bytes_(bytes), left_(upload ? total : 0), upload_(upload) {}

  void start(Session& session) {
    session_ = &session;
    stream_ = session.open(upload_ ? sandbox::protocol::Method::fs_write : sandbox::protocol::Method::fs_read, {}, this);
    if (upload_) produce();
  }
  bool done() const { return done_; }
  std::uint64_t received() const { return received_; }

  void on_writable(Channel) override { produce(); }
  void on_data(Channel channel, ByteView data, bool) override {
    received_ += data.size();
    session_->consumed(stream_, channel, data.size());
  }
  void on_end(const sandbox::protocol::End& end) override {
    if (end.code != 0) fail(end.message);
    done_ = true;
  }
  void on_lost(const sandbox::Error& error) override {
    if (!done_) fail(error.to_string());
  }

 private:
  void produce() {
    while (left_ > 0) {
      const auto count = static_cast<std::size_t>(std::min<std::uint64_t>({left_, kPiece, bytes_.size()}));
      const auto taken = session_->send(stream_, Channel::in, ByteView(bytes_.data(), count), count == left_);
      left_ -= taken;
      if (taken < count) return;
    }
  }

  const std::vector<std::byte>& bytes_;
  std::uint64_t left_;
  const bool upload_;
  Session* session_ = nullptr;
  StreamId stream_ = 0;
  std::uint64_t received_ = 0;
  bool done_ = false;
};

/// Moves bytes until `done()` or the peer is gone.
template <class Done>
void pump(int socket, Endpoint& endpoint, Done&& done) {
  std::vector<std::byte> buffer(256 << 10);
  while (!done()) {
    bool blocked = false;
    for (ByteView out; !blocked && !(out = endpoint.output()).empty();) {
      const auto put = ::send(socket, out.data(), out.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (put > 0) endpoint.sent(static_cast<std::size_t>(put));
      else if (errno == EAGAIN) blocked = true;
      else return;
    }
    const auto got = ::recv(socket, buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (got == 0) return;
    if (got > 0) {
      endpoint.receive(ByteView(buffer.data(), static_cast<std::size_t>(got))).value();
      continue;
    }
    pollfd polled{socket, static_cast<short>(POLLIN | (blocked ? POLLOUT : 0)), 0};
    ::poll(&polled, 1, 1000);
  }
}

/// MiB per second of one transfer.
double transfer(const std::vector<std::byte>& bytes, std::uint64_t total, bool upload, bool seal) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) fail("socketpair");
  const sandbox::core::UniqueFd client_end(ends[0]);
  std::optional<sandbox::core::UniqueFd> agent_end(std::in_place, ends[1]);
  const sandbox::core::UniqueFd file(::memfd_create("bench-sealed", MFD_CLOEXEC));
  if (!upload) {
    for (std::uint64_t done = 0; done < total; done += bytes.size()) {
      if (::write(file.get(), bytes.data(), bytes.size()) < 0) fail("write");
    }
    ::lseek(file.get(), 0, SEEK_SET);
  }
  Client client(bytes, total, upload);
  Agent agent(file.get(), total);
  Session client_session(sandbox::session::Role::client, {}, client), agent_session(sandbox::session::Role::agent, {}, agent);
  agent.session = &agent_session;
  const auto identity = sandbox::Identity::generate().value();
  auto client_endpoint = [&] {
    if (!seal) return Endpoint(client_session);
    sandbox::crypto::ClientTrust trust;
    trust.pin = identity.fingerprint();
    return Endpoint(client_session, sandbox::crypto::SecureChannel::client(std::move(trust)).value());
  }();
  auto agent_endpoint = [&] {
    if (!seal) return Endpoint(agent_session);
    sandbox::crypto::AgentTrust trust{identity, {}, {}};
    return Endpoint(agent_session, sandbox::crypto::SecureChannel::agent(std::move(trust)).value());
  }();
  std::exception_ptr failure;
  std::jthread agent_thread([&] {
    try {
      pump(agent_end->get(), agent_endpoint, [] { return false; });
    } catch (...) {
      failure = std::current_exception();
      ::shutdown(agent_end->get(), SHUT_RDWR);
    }
  });
  const auto took = timed([&] {
    client.start(client_session);
    pump(client_end.get(), client_endpoint, [&] { return client.done(); });
  });
  ::shutdown(client_end.get(), SHUT_RDWR);
  agent_thread.join();
  if (failure) std::rethrow_exception(failure);
  if (!client.done()) fail("the agent left before the end");
  const auto size = upload ? static_cast<std::uint64_t>(::lseek(file.get(), 0, SEEK_END)) : client.received();
  if (size != total) fail("moved " + std::to_string(size) + " bytes instead of " + std::to_string(total));
  return static_cast<double>(total) / (1 << 20) / std::chrono::duration<double>(took).count();
}

}  // namespace

std::vector<Result> sealed_transfer(Config& config) {
  const std::uint64_t total = std::uint64_t{config.quick ? 256u : 1024u} << 20;
  const std::vector<std::byte> bytes(1 << 20, std::byte{0x5a});
  std::vector<Result> results;
  for (const bool upload : {true, false}) {
    Samples plain, sealed;
    for (int round = -1; round < (config.quick ? 3 : 8); ++round) {
      const double without = transfer(bytes, total, upload, false);
      const double with = transfer(bytes, total, upload, true);
      if (round < 0) continue;
      plain.add(without);
      sealed.add(with);
    }
    auto result = summarise(upload ? "sealed_file_in" : "sealed_file_out", "MiB/s", sealed, plain, true);
    result.bar = ">= 0.6 x plain";
    result.pass = result.ratio >= 0.6;
    result.method = std::to_string(total >> 20) + " MiB between a client and an agent session on two threads over a socket pair, into and out "
                    "of a memory file; floor: the same session without the seal, in turns";
    results.push_back(std::move(result));
  }
  return results;
}

}  // namespace bench
