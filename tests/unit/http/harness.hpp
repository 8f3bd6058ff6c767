#pragma once

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <future>
#include <memory>
#include <string>

#include <gtest/gtest.h>

#include <boost/asio/post.hpp>

#include "aio/reactor.hpp"
#include "http/client.hpp"
#include "http/server.hpp"

namespace sandbox::http::test {

using namespace std::chrono_literals;

inline core::TimePoint in(core::Duration time) { return core::SteadyClock::now() + time; }

/// A directory of its own, removed at the end.
class TempDir {
 public:
  TempDir() {
    char name[] = "/tmp/sandbox-http-XXXXXX";
    path_ = ::mkdtemp(name);
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

/// What a hostile or plain client would do by hand: bytes in, bytes out.
class Raw {
 public:
  explicit Raw(core::UniqueFd fd) : fd_(std::move(fd)) {}
  /// False if the other end closed meanwhile.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const auto put = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (put <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(put));
    }
    return true;
  }
  /// Reads until `enough` holds of everything read so far, the other end closes, or time is up.
  const std::string& read_until(const std::function<bool(const std::string&)>& enough, core::Duration time = 5s) {
    const auto deadline = in(time);
    while (!enough(got) && !closed) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - core::SteadyClock::now()).count();
      pollfd wait{fd_.get(), POLLIN, 0};
      if (left <= 0 || ::poll(&wait, 1, static_cast<int>(left)) <= 0) break;
      char buffer[65536];
      const auto size = ::recv(fd_.get(), buffer, sizeof buffer, 0);
      if (size <= 0) closed = true;
      else got.append(buffer, static_cast<std::size_t>(size));
    }
    return got;
  }
  const std::string& read_until(std::string_view text, core::Duration time = 5s) {
    return read_until([&](const std::string& so_far) { return so_far.find(text) != std::string::npos; }, time);
  }
  const std::string& read_to_end(core::Duration time = 5s) {
    return read_until([](const std::string&) { return false; }, time);
  }
  int fd() const { return fd_.get(); }
  core::UniqueFd take() { return std::move(fd_); }

  std::string got;
  bool closed = false;

 private:
  core::UniqueFd fd_;
};

core::UniqueFd dial_unix(const std::string& path);
core::UniqueFd dial_tcp(std::uint16_t port);

/// A server on a unix socket and on loopback, on a reactor of its own.
class ServerTest : public ::testing::Test {
 protected:
  void start(Handler handler, ServerOptions options = {}) {
    server = std::make_unique<Server>(reactor.context(), options, std::move(handler));
    auto listening = server->listen_unix(socket);
    ASSERT_TRUE(listening) << listening.error().to_string();
    auto tcp = server->listen_tcp("127.0.0.1:0");
    ASSERT_TRUE(tcp) << tcp.error().to_string();
    port = *tcp;
  }
  Raw dial() { return Raw(dial_unix(socket)); }
  std::unique_ptr<Client> client(ClientOptions options = {}) {
    return std::move(Client::make(*Endpoint::parse("unix://" + socket), options)).value();
  }
  std::unique_ptr<Client> tcp_client(ClientOptions options = {}) {
    return std::move(Client::make(*Endpoint::parse("http://127.0.0.1:" + std::to_string(port)), options)).value();
  }
  /// Runs on the reactor and waits.
  template <class F>
  auto on_reactor(F action) {
    std::packaged_task<decltype(action())()> task(std::move(action));
    auto done = task.get_future();
    boost::asio::post(reactor.context(), [&] { task(); });
    return done.get();
  }

  TempDir dir;
  std::string socket = dir / "http.sock";
  std::uint16_t port = 0;
  aio::Reactor reactor;
  std::unique_ptr<Server> server;
};

/// Body "METHOD path?query body".
void echo(const std::shared_ptr<Exchange>& exchange);

}  // namespace sandbox::http::test
