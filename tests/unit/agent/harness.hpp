#pragma once

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "agent/loop.hpp"
#include "agent/server.hpp"
#include "core/unique_fd.hpp"
#include "protocol/messages.hpp"
#include "session/session.hpp"

/// A client session on the same loop as the server under test: one thread, real sockets, real processes.
namespace sandbox::agent::testing {

using namespace std::chrono_literals;
using session::Channel;

/// The client's side of one stream: collects everything.
class Call : public session::StreamHandler {
 public:
  void on_message(ByteView message) override { messages.emplace_back(as_text(message)); }
  void on_data(Channel channel, ByteView data, bool) override {
    (channel == Channel::out ? out : err) += as_text(data);
    received += data.size();
    if (reading) session->consumed(id, channel, data.size());
    else (channel == Channel::out ? held_out : held_err) += data.size();
    if (on_output) on_output();
  }
  void on_writable(Channel) override { push(); }
  void on_end(const protocol::End& record) override { end = record; }
  void on_lost(const Error& error) override {
    lost = error;
    error.ignore("kept for the test");
  }

  /// Sends `bytes` on channel in as credit allows, then fin.
  void feed(std::string bytes, bool fin = true) {
    input += bytes;
    input_fin = fin;
    push();
  }
  void push() {
    if (input.empty() && !input_fin) return;
    const bool fin = input_fin;
    const std::size_t taken = session->send(id, Channel::in, as_bytes(input), fin);
    const bool all = taken == input.size();
    input.erase(0, taken);
    if (all) input_fin = false;
  }
  /// Starts to read after `reading` was false.
  void resume() {
    reading = true;
    session->consumed(id, Channel::out, std::exchange(held_out, 0));
    session->consumed(id, Channel::err, std::exchange(held_err, 0));
  }
  void control(std::uint32_t signal) {
    protocol::ExecControl message;
    message.signal = signal;
    session->send_message(id, protocol::encode(message)).value();
  }
  bool ok() const { return end && end->code == 0; }
  template <class T = protocol::ExecOutcome>
  T result() const {
    return protocol::decode<T>(as_bytes(end->result)).value();
  }
  Error error() const {
    Error error = session::error_of(*end);
    error.ignore("a test looks at what it wants of it");
    return error;
  }
  bool started() const { return !messages.empty(); }
  std::uint32_t pid() const { return protocol::decode<protocol::ExecStarted>(as_bytes(messages.at(0))).value().pid; }

  session::Session* session = nullptr;
  session::StreamId id = 0;
  std::string out, err;
  std::size_t received = 0;
  std::size_t held_out = 0, held_err = 0;
  bool reading = true;
  std::vector<std::string> messages;
  std::optional<protocol::End> end;
  std::optional<Error> lost;
  std::string input;
  bool input_fin = false;
  std::function<void()> on_output;
};

/// A client session whose bytes go wherever `write` says.
class Client : public session::SessionHandler {
 public:
  Client(Loop& loop, Server::Write write, session::Options options = {})
      : loop_(loop), write_(std::move(write)), session(session::Role::client, std::move(options), *this) {
    hook_ = loop_.before_sleep([this] { flush(); });
  }
  ~Client() override { loop_.remove_hook(hook_); }

  void on_ready(const protocol::Hello& peer) override { hello = peer; }
  void on_pong(std::uint64_t nonce) override { pong = nonce; }

  std::shared_ptr<Call> open(protocol::Method method, std::string params, std::string key = {}) {
    auto call = std::make_shared<Call>();
    call->session = &session;
    calls_.push_back(call);
    call->id = session.open(method, std::move(params), call.get(), std::move(key));
    return call;
  }
  std::shared_ptr<Call> exec(const protocol::ExecRequest& request, std::string key = {}) {
    return open(protocol::Method::exec, protocol::encode(request), std::move(key));
  }
  std::shared_ptr<Call> shell(std::string line) {
    protocol::ExecRequest request;
    request.shell = std::move(line);
    return exec(request);
  }
  void flush() {
    for (;;) {
      const ByteView bytes = session.output();
      if (bytes.empty()) return;
      const std::size_t taken = write_(bytes);
      if (taken == 0) return;
      session.sent(taken);
    }
  }

 private:
  Loop& loop_;
  Server::Write write_;
  std::uint64_t hook_ = 0;
  std::vector<std::shared_ptr<Call>> calls_;   // a handler must outlive its stream

 public:
  session::Session session;
  std::optional<protocol::Hello> hello;
  std::optional<std::uint64_t> pong;
};

/// Agent, server and client, joined by a socketpair.
class Harness {
 public:
  explicit Harness(Agent::Settings settings = default_settings()) : agent(loop, std::move(settings)) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) std::abort();
    socket.reset(ends[0]);
    server = std::make_unique<SocketServer>(agent, core::UniqueFd(ends[1]), session_options(), [this](const Error& why) {
      server_lost = why;
      why.ignore("kept for the test");
    });
    server->start().value();
    connect();
  }
  /// The client's half alone, on `fd`.
  struct NoServer {};
  Harness(NoServer, core::UniqueFd fd) : agent(loop, default_settings()), socket(std::move(fd)) { connect(); }
  ~Harness() {
    loop.unwatch(socket.get());
    client.reset();
  }

  static Agent::Settings default_settings() {
    Agent::Settings settings;
    settings.environment.set("PATH", "/usr/bin:/bin").value();
    settings.workdir = "/";
    return settings;
  }

  /// Turns the loop until `done()` or `limit`; returns done().
  template <class Done>
  bool run_until(Done&& done, core::Duration limit = 20s) {
    const auto deadline = core::SteadyClock::now() + limit;
    while (!done() && core::SteadyClock::now() < deadline) loop.turn(10ms);
    return done();
  }
  bool finish(const std::shared_ptr<Call>& call, core::Duration limit = 20s) {
    return run_until([&] { return call->end.has_value() || call->lost.has_value(); }, limit);
  }
  /// Runs one shell line to its end.
  std::shared_ptr<Call> run(std::string line) {
    auto call = client->shell(std::move(line));
    finish(call);
    return call;
  }

  Loop loop;
  Agent agent;
  core::UniqueFd socket;
  std::unique_ptr<SocketServer> server;
  std::unique_ptr<Client> client;
  std::optional<Error> server_lost;
  bool client_lost = false;

 private:
  void connect() {
    client = std::make_unique<Client>(loop, [this](ByteView bytes) -> std::size_t {
      const ssize_t count = ::send(socket.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      const bool full = count < static_cast<ssize_t>(bytes.size());
      loop.rewatch(socket.get(), full ? EPOLLIN | EPOLLOUT : EPOLLIN);
      return count > 0 ? static_cast<std::size_t>(count) : 0;
    });
    loop.watch(socket.get(), EPOLLIN, [this](std::uint32_t) {
          const ssize_t count = ::recv(socket.get(), buffer_.data(), buffer_.size(), MSG_DONTWAIT);
          if (count > 0) {
            client->session.receive(as_bytes(std::string_view(buffer_.data(), static_cast<std::size_t>(count)))).value();
          } else if (count == 0 || errno != EAGAIN) {
            client_lost = true;
            loop.unwatch(socket.get());
            client->session.fail(Error(ErrorCode::unavailable, "the agent closed the stream"));
          }
        })
        .value();
  }

  std::string buffer_ = std::string(256 << 10, '\0');
};

inline protocol::ExecRequest shell_request(std::string line) {
  protocol::ExecRequest request;
  request.shell = std::move(line);
  return request;
}

inline protocol::ExecRequest argv_request(std::vector<std::string> argv) {
  protocol::ExecRequest request;
  request.argv = std::move(argv);
  return request;
}

}  // namespace sandbox::agent::testing
