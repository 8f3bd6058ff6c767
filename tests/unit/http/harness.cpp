#include "harness.hpp"

#include <arpa/inet.h>
#include <sys/un.h>

#include <cstring>

namespace sandbox::http::test {

core::UniqueFd dial_unix(const std::string& path) {
  core::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0) << std::strerror(errno);
  return fd;
}

core::UniqueFd dial_tcp(std::uint16_t port) {
  core::UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0) << std::strerror(errno);
  return fd;
}

void echo(const std::shared_ptr<Exchange>& exchange) {
  exchange->read_body(1 << 20, [exchange](Result<std::string> body) {
    const RequestHead& head = exchange->request();
    if (!body) {
      const ErrorCode code = body.error().code();
      return exchange->respond(text_response(code == ErrorCode::resource_exhausted ? 413 : code == ErrorCode::deadline_exceeded ? 408 : 400,
                                             body.error().message() + "\n"));
    }
    exchange->respond(text_response(200, head.method + " " + head.path + (head.query.empty() ? "" : "?" + head.query) + " " + *body));
  });
}

}  // namespace sandbox::http::test
