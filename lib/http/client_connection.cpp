#include "http/client_connection.hpp"

#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>

namespace sandbox::http {

Error stopped() { return Error(ErrorCode::cancelled, "cancelled").with_operation("http.client"); }

Result<std::unique_ptr<StopEvent>> StopEvent::make(const std::stop_token& stop) {
  core::UniqueFd fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!fd) return Error::from_errno(errno, "http.eventfd");
  return std::unique_ptr<StopEvent>(new StopEvent(std::move(fd), stop));
}

void StopEvent::Signal::operator()() const noexcept {
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(fd, &one, sizeof one);  // cannot fail: the counter was 0
}

namespace {

Error too_late(const char* what) {
  return Error(ErrorCode::deadline_exceeded, std::string("the deadline passed while ") + what).with_operation("http.client");
}

constexpr int kStopped = 2;

/// 1: ready, 0: the deadline passed, -1: errno, kStopped: `stop` was asked for.
int poll_until(int fd, short events, core::TimePoint deadline, const StopEvent* stop) {
  for (;;) {
    pollfd waiting[] = {{fd, events, 0}, {stop ? stop->fd() : -1, POLLIN, 0}};
    timespec time{}, *limit = nullptr;
    if (deadline != core::TimePoint::max()) {
      const auto left = std::max(core::Duration::zero(), deadline - core::SteadyClock::now());
      time.tv_sec = std::chrono::duration_cast<std::chrono::seconds>(left).count();
      time.tv_nsec = std::chrono::duration_cast<std::chrono::nanoseconds>(left % std::chrono::seconds(1)).count();
      limit = &time;
    }
    const int ready = ::ppoll(waiting, std::size(waiting), limit, nullptr);
    if (ready > 0) return waiting[0].revents != 0 ? 1 : kStopped;
    if (ready == 0 || errno != EINTR) return ready;
  }
}

Error cannot_connect(const Endpoint& endpoint, int cause) {
  const std::string where = endpoint.to_string();
  if (cause == EACCES || cause == EPERM) {
    return Error(ErrorCode::permission_denied, "cannot connect to " + where + ": this user may not use the socket (is it in its group?)")
        .with_operation("http.connect")
        .with_errno(cause);
  }
  std::string text = "cannot connect to " + where;
  text += cause == ENOENT ? ": no such socket" : std::string(": ") + ::strerror(cause);
  if (cause == ENOENT || cause == ECONNREFUSED) text += " (is sandboxd running?)";
  return Error(ErrorCode::unavailable, std::move(text))
      .with_operation("http.connect")
      .with_errno(cause)
      .with_retry(Retry::after_backoff);
}

/// Errors: deadline_exceeded, cancelled; a positive value is the errno of a refused attempt.
Result<int> connect_to(int fd, const sockaddr* address, socklen_t size, core::TimePoint deadline, const StopEvent* stop) {
  for (;;) {
    if (::connect(fd, address, size) == 0) return 0;
    if (errno == EINTR) continue;
    // A unix socket whose queue is full: nothing to poll for, so ask again shortly.
    if (errno == EAGAIN) {
      if (core::SteadyClock::now() >= deadline) return too_late("connecting");
      if (poll_until(-1, 0, std::min(deadline, core::SteadyClock::now() + std::chrono::milliseconds(2)), stop) == kStopped) return stopped();
      continue;
    }
    if (errno != EINPROGRESS) return errno;
    const int ready = poll_until(fd, POLLOUT, deadline, stop);
    if (ready == 0) return too_late("connecting");
    if (ready == kStopped) return stopped();
    int error = 0;
    socklen_t error_size = sizeof error;
    ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &error_size);
    return error;
  }
}

Result<core::UniqueFd> connect_unix(const Endpoint& endpoint, core::TimePoint deadline, const StopEvent* stop) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, endpoint.path.data(), std::min(endpoint.path.size(), sizeof address.sun_path - 1));
  core::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return Error::from_errno(errno, "http.connect");
  SANDBOX_TRY(const int cause, connect_to(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address, deadline, stop));
  if (cause != 0) return cannot_connect(endpoint, cause);
  return fd;
}

Result<core::UniqueFd> connect_tcp(const Endpoint& endpoint, core::TimePoint deadline, const StopEvent* stop) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (const int failed = ::getaddrinfo(endpoint.host.c_str(), std::to_string(endpoint.port).c_str(), &hints, &found); failed != 0) {
    return Error(ErrorCode::unavailable, "cannot resolve " + endpoint.host + ": " + ::gai_strerror(failed)).with_operation("http.connect");
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(found, ::freeaddrinfo);
  int last = EADDRNOTAVAIL;
  for (const addrinfo* at = found; at; at = at->ai_next) {
    core::UniqueFd fd(::socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) {
      last = errno;
      continue;
    }
    SANDBOX_TRY(last, connect_to(fd.get(), at->ai_addr, at->ai_addrlen, deadline, stop));
    if (last != 0) continue;
    const int on = 1;
    ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ::setsockopt(fd.get(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    return fd;
  }
  return cannot_connect(endpoint, last);
}

}  // namespace

Result<std::unique_ptr<ClientConnection>> ClientConnection::connect(const Endpoint& endpoint, const TlsContext& tls,
                                                                    const std::string& server_name, core::TimePoint deadline,
                                                                    const StopEvent* stop) {
  const bool local = endpoint.scheme == Endpoint::Scheme::unix_socket;
  SANDBOX_TRY(auto fd, local ? connect_unix(endpoint, deadline, stop) : connect_tcp(endpoint, deadline, stop));
  Transport transport(std::move(fd));
  if (tls) SANDBOX_CHECK(transport.start_tls_client(tls, server_name));
  std::unique_ptr<ClientConnection> connection(new ClientConnection(std::move(transport)));
  connection->stop_with(stop);
  if (!tls) return connection;
  for (;;) {
    switch (connection->transport_.handshake()) {
      case Transport::State::ok: return connection;
      case Transport::State::want_read: SANDBOX_CHECK(connection->wait(POLLIN, deadline)); break;
      case Transport::State::want_write: SANDBOX_CHECK(connection->wait(POLLOUT, deadline)); break;
      default: return connection->transport_.failure().with_context("cannot connect to " + endpoint.to_string());
    }
  }
}

Result<void> ClientConnection::wait(short events, core::TimePoint deadline) {
  int ready = poll_until(transport_.fd(), events, std::min(deadline, stop_by_), is_stopping() ? nullptr : stop_);
  if (ready == kStopped) {
    stop_by_ = core::SteadyClock::now() + kStopTime;
    transport_.finish_sending();
    ready = poll_until(transport_.fd(), events, std::min(deadline, stop_by_), nullptr);
  }
  if (cancelled_.load(std::memory_order_relaxed) || (ready == 0 && is_stopping())) return stopped();
  if (ready > 0) return {};
  if (ready == 0) return too_late((events & POLLIN) != 0 ? "waiting for the server" : "sending to the server");
  return Error::from_errno(errno, "http.poll");
}

Result<void> ClientConnection::send(std::string_view head, std::string_view body, core::TimePoint deadline, std::size_t& sent) {
  sent = 0;
  while (sent < head.size() + body.size()) {
    iovec pieces[2];
    std::size_t count = 0;
    if (sent < head.size()) pieces[count++] = {const_cast<char*>(head.data()) + sent, head.size() - sent};
    const std::size_t skip = sent > head.size() ? sent - head.size() : 0;
    if (skip < body.size()) pieces[count++] = {const_cast<char*>(body.data()) + skip, body.size() - skip};
    const auto moved = transport_.write({pieces, count});
    sent += moved.bytes;
    switch (moved.state) {
      case Transport::State::ok: break;
      case Transport::State::want_write: SANDBOX_CHECK(wait(POLLOUT, deadline)); break;
      case Transport::State::want_read: SANDBOX_CHECK(wait(POLLIN, deadline)); break;
      default: return transport_.failure();
    }
  }
  return {};
}

Result<std::size_t> ClientConnection::receive(std::span<std::byte> buffer, core::TimePoint deadline) {
  for (bool waited = transport_.is_tls();; waited = true) {
    // The answer is hardly ever there already: waiting first saves a call that would find nothing.
    if (!waited) SANDBOX_CHECK(wait(POLLIN, deadline));
    const auto moved = transport_.read(buffer);
    switch (moved.state) {
      case Transport::State::ok: return moved.bytes;
      case Transport::State::closed: return std::size_t{0};
      case Transport::State::want_read: SANDBOX_CHECK(wait(POLLIN, deadline)); break;
      case Transport::State::want_write: SANDBOX_CHECK(wait(POLLOUT, deadline)); break;
      case Transport::State::failed:
        if (cancelled_) return stopped();
        return transport_.failure();
    }
  }
}

Result<void> ClientConnection::fill(core::TimePoint deadline, bool& ended) {
  std::byte buffer[kReadSize];
  SANDBOX_TRY(const std::size_t got, receive(buffer, deadline));
  if (got == 0 && cancelled_) return stopped();
  ended = got == 0;
  inbox_.append(as_text({buffer, got}));
  return {};
}

Result<void> ClientConnection::read_head(Parser& parser, bool head_request, core::TimePoint deadline, bool& received) {
  if (head_request) parser.expect_no_body();
  for (;;) {
    const auto step = parser.next(inbox_);
    inbox_.erase(0, step.used);
    if (step.what == Parser::Step::What::error) {
      return Error(ErrorCode::protocol, std::string("the server's answer: ") + std::string(step.problem)).with_operation("http.client");
    }
    if (step.what == Parser::Step::What::head) {
      if (parser.status() >= 200 || parser.status() == 101) return {};
      parser = Parser(Parser::Kind::response, kMaxResponseHead);
      if (head_request) parser.expect_no_body();
      continue;
    }
    bool ended = false;
    SANDBOX_CHECK(fill(deadline, ended));
    if (!ended) {
      received = true;
      continue;
    }
    return Error(ErrorCode::unavailable, received ? "the server closed the connection in the middle of its answer"
                                                  : "the server closed the connection without an answer")
        .with_operation("http.client")
        .with_retry(Retry::after_backoff);
  }
}

Result<bool> ClientConnection::read_body(Parser& parser, std::string& out, std::size_t most, core::TimePoint deadline) {
  for (;;) {
    auto step = parser.next(std::string_view(inbox_).substr(0, most));
    if (step.what == Parser::Step::What::body) {
      out.append(step.body);
      inbox_.erase(0, step.used);
      return true;
    }
    inbox_.erase(0, step.used);
    if (step.what == Parser::Step::What::end) return false;
    if (step.what == Parser::Step::What::need_more) {
      bool ended = false;
      SANDBOX_CHECK(fill(deadline, ended));
      if (!ended) continue;
      step = parser.end_of_input();
      if (step.what == Parser::Step::What::end) return false;
      return Error(ErrorCode::unavailable, "the server closed the connection in the middle of its answer").with_operation("http.client");
    }
    return Error(ErrorCode::protocol, std::string("the server's answer: ") + std::string(step.problem)).with_operation("http.client");
  }
}

bool ClientConnection::is_quiet() {
  if (!inbox_.empty()) return false;
  char byte;
  return ::recv(transport_.fd(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

void ClientConnection::cancel() noexcept {
  cancelled_ = true;
  transport_.shut_down();
}

Result<std::string> request_head(const Endpoint& endpoint, const std::string& user_agent, std::string_view method,
                                 std::string_view target, const Headers& headers, std::optional<std::size_t> length) {
  const auto bad = [](const char* what) {
    return Error(ErrorCode::invalid_argument, std::string("a request with a malformed ") + what).with_operation("http.client");
  };
  if (!valid_field(method, {})) return bad("method");
  if (target.empty() || target.front() != '/') return bad("target");
  for (const char c : target) {
    if (static_cast<unsigned char>(c) <= ' ' || c == 0x7f) return bad("target");
  }
  std::string head;
  head.reserve(256);
  head.append(method).append(" ").append(endpoint.prefix).append(target).append(" HTTP/1.1\r\n");
  if (!headers.find("Host")) head.append("Host: ").append(endpoint.authority()).append("\r\n");
  if (!user_agent.empty() && !headers.find("User-Agent")) head.append("User-Agent: ").append(user_agent).append("\r\n");
  for (const auto& [name, value] : headers) {
    if (!valid_field(name, value)) return bad("header");
    if (same_token(name, "Content-Length") || same_token(name, "Transfer-Encoding")) continue;
    head.append(name).append(": ").append(value).append("\r\n");
  }
  if (length) head.append("Content-Length: ").append(std::to_string(*length)).append("\r\n");
  head.append("\r\n");
  return head;
}

}  // namespace sandbox::http
