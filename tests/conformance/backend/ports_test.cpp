#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <future>
#include <stop_token>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>

#include <sandbox/asio.hpp>

#include "conformance.hpp"
#include "support/eventually.hpp"
#include "support/failure.hpp"

namespace sandbox::testing {
namespace {

class Ports : public Conformance {};

std::string exchange(int fd, const std::string& request) {
  EXPECT_EQ(::send(fd, request.data(), request.size(), MSG_NOSIGNAL), static_cast<ssize_t>(request.size()));
  ::shutdown(fd, SHUT_WR);
  std::string answer;
  char buffer[4096];
  for (ssize_t n; (n = ::recv(fd, buffer, sizeof buffer, 0)) > 0;) answer.append(buffer, static_cast<std::size_t>(n));
  ::close(fd);
  return answer;
}

int dial(std::uint16_t port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    ::close(fd);
    return -1;
  }
  return fd;
}

/// A server that answers each connection with "<bytes received>:" and the upper-cased request once the client is done.
const char* kServer = R"(
import socket, threading
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(('127.0.0.1', 8080)); s.listen(64)
def serve(c):
    data = b''
    while True:
        piece = c.recv(65536)
        if not piece: break
        data += piece
    c.sendall(str(len(data)).encode() + b':' + data.upper()); c.close()
while True:
    c, _ = s.accept(); threading.Thread(target=serve, args=(c,), daemon=True).start()
)";

TEST_P(Ports, ConnectReachesAServerInsideWithoutAnyNetwork) {
  Sandbox b = box();
  RunningProcess server = b.process().spawn(Command("python3").args("-c", kServer)).value();
  const int fd = b.net().connect(8080, 10s).value();
  EXPECT_EQ(exchange(fd, "hello"), "5:HELLO");
}

TEST_P(Ports, ConnectToNobodySaysUnavailable) {
  Sandbox b = box();
  EXPECT_CODE(ErrorCode::unavailable, b.net().connect(9, 200ms));
  EXPECT_CODE(ErrorCode::invalid_argument, b.net().connect(0));
}

TEST_P(Ports, ExposeListCloseWithHalfClose) {
  Sandbox b = box();
  RunningProcess server = b.process().spawn(Command("python3").args("-c", kServer)).value();
  const ExposedPort exposed = b.net().expose(8080).value();
  EXPECT_EQ(exposed.port, 8080);
  EXPECT_EQ(b.net().list().value().size(), 1u);
  EXPECT_CODE(ErrorCode::already_exists, b.net().expose(8080));
  const std::string big(3 << 20, 'q');
  EXPECT_EQ(exchange(dial(exposed.host_port), big), std::to_string(big.size()) + ":" + std::string(big.size(), 'Q'));
  EXPECT_EQ(exchange(dial(exposed.host_port), "again"), "5:AGAIN");
  EXPECT_OK(b.net().close(8080));
  EXPECT_CODE(ErrorCode::not_found, b.net().close(8080));
  EXPECT_EQ(dial(exposed.host_port), -1);
  EXPECT_TRUE(b.net().list().value().empty());
}

TEST_P(Ports, WaitingForAPortTakesNoConnection) {
  Sandbox b = box();
  // Serves exactly one connection; a readiness probe that connected would use it up.
  RunningProcess server = b.process().spawn(Command("python3").args("-c",
      "import socket,time; time.sleep(0.3); s=socket.socket(); s.bind(('127.0.0.1',8081)); s.listen(1); c,_=s.accept(); c.sendall(b'only once'); c.close()")).value();
  const ExposedPort exposed = b.net().expose(8081).value();
  EXPECT_EQ(exchange(dial(exposed.host_port), ""), "only once");
}

TEST_P(Ports, ExposingNothingEndsAtTheDeadline) {
  Sandbox b = box();
  EXPECT_CODE(ErrorCode::deadline_exceeded, b.net().expose(8082, 0, 200ms));
  EXPECT_TRUE(b.net().list().value().empty());
}

/// Whether somebody waits for a listener on `port`. A look may take the port for a moment.
bool waited_for(Sandbox& b, std::uint16_t port) {
  return eventually([&] { return failure(b.net().expose(port, 0, 1ms)) == ErrorCode::already_exists; });
}

TEST_P(Ports, ACancelledExposeLeavesThePortFree) {
  Sandbox b = box();
  std::stop_source stop;
  auto waiting = std::async(std::launch::async, [&] {
    for (;;) {
      auto exposed = b.net().expose(8083, 0, 60s, stop.get_token());
      if (failure(exposed) != ErrorCode::already_exists) return exposed;  // else it was a look that had it
    }
  });
  EXPECT_TRUE(waited_for(b, 8083));
  const auto begin = std::chrono::steady_clock::now();
  stop.request_stop();
  EXPECT_CODE(ErrorCode::cancelled, waiting.get());
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 20s) << "long before a minute is over";
  EXPECT_CODE(ErrorCode::deadline_exceeded, b.net().expose(8083, 0, 1ms));  // free, and at once
  EXPECT_CODE(ErrorCode::cancelled, b.net().expose(8083, 0, 60s, stop.get_token()));
  EXPECT_TRUE(b.net().list().value().empty());
  RunningProcess server = b.process().spawn(Command("python3").args("-c", kServer)).value();
  std::stop_source never;
  const ExposedPort exposed = b.net().expose(8080, 0, 30s, never.get_token()).value();
  never.request_stop();  // too late: it is exposed
  EXPECT_EQ(exchange(dial(exposed.host_port), "stays"), "5:STAYS");
}

TEST_P(Ports, AnAsynchronousExposeIsCancelledOrCompletes) {
  Sandbox b = box();
  boost::asio::cancellation_signal cancel;
  std::promise<Result<ExposedPort>> first, second;
  b.net().async_expose(8084, 0, 60s, boost::asio::bind_cancellation_slot(cancel.slot(), [&](Result<ExposedPort> exposed) {
    first.set_value(std::move(exposed));
  }));
  cancel.emit(boost::asio::cancellation_type::terminal);
  EXPECT_CODE(ErrorCode::cancelled, first.get_future().get());
  EXPECT_CODE(ErrorCode::deadline_exceeded, b.net().expose(8084, 0, 1ms));
  RunningProcess server = b.process().spawn(Command("python3").args("-c", kServer)).value();
  b.net().async_expose(8080, 0, 60s, [&](Result<ExposedPort> exposed) { second.set_value(std::move(exposed)); });
  const ExposedPort exposed = second.get_future().get().value();
  EXPECT_EQ(exchange(dial(exposed.host_port), "there"), "5:THERE");
}

TEST_P(Ports, TheTunnelEndsWithTheSandbox) {
  Sandbox b = box();
  RunningProcess server = b.process().spawn(Command("python3").args("-c", kServer)).value();
  const ExposedPort exposed = b.net().expose(8080).value();
  EXPECT_OK(b.close());
  EXPECT_EQ(dial(exposed.host_port), -1);
}

SANDBOX_CONFORMANCE(Ports)

}  // namespace
}  // namespace sandbox::testing
