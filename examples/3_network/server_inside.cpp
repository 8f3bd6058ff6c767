// A server inside a sandbox that has no network: connect to it, then give it a port of this host.
#include <arpa/inet.h>
#include <fcntl.h>
#include <iostream>
#include <netinet/in.h>
#include <string>
#include <sys/socket.h>
#include <unistd.h>

#include "common.hpp"

namespace {

/// Asks for `path` over a connected socket, which it closes, and returns all that came.
std::string http_get(int socket, const std::string& path) {
  const std::string request = "GET " + path + " HTTP/1.0\r\nHost: sandbox\r\n\r\n";
  std::string answer;
  ::fcntl(socket, F_SETFL, 0);  // blocking, whatever it was made for
  if (::write(socket, request.data(), request.size()) == static_cast<ssize_t>(request.size())) {
    char buffer[4096];
    for (ssize_t got = 0; (got = ::read(socket, buffer, sizeof buffer)) > 0;) answer.append(buffer, static_cast<std::size_t>(got));
  }
  ::close(socket);
  return answer;
}

int connect_loopback(std::uint16_t port) {
  const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  example::expect(::connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0, "the exposed port to accept");
  return socket;
}

}  // namespace

int main() {
  return example::run([] {
    auto runtime = sandbox::Runtime::open().value();
    auto box = runtime.create(example::spec()).value();  // Network::none: loopback only
    box.fs().write("/root/index.html", "<h1>served from inside</h1>\n").value();
    auto server = box.process().spawn("exec python3 -m http.server 8000 --bind 127.0.0.1 --directory /root 2>/dev/null").value();

    // A socket connected inside the sandbox's network namespace and passed out. Waits until the server listens.
    const std::string direct = http_get(box.net().connect(8000).value(), "/index.html");
    std::cout << "connect: " << direct.substr(0, direct.find('\r')) << ", " << direct.size() << " bytes\n";
    example::expect(direct.find("served from inside") != std::string::npos, "the page over connect()");

    const auto exposed = box.net().expose(8000).value();
    std::cout << "exposed at " << exposed.url() << "\n";
    const std::string relayed = http_get(connect_loopback(exposed.host_port), "/index.html");
    example::expect(relayed.find("served from inside") != std::string::npos, "the page over the exposed port");
    std::cout << "expose: " << relayed.substr(0, relayed.find('\r')) << ", " << relayed.size() << " bytes\n";

    box.net().close(8000).value();
    example::expect(box.net().list().value().empty(), "no exposed port after close()");
    server.kill().value();
    example::expect(server.wait().value().cause == sandbox::ExitCause::cancelled, "the server to end");
  });
}
