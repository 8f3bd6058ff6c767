// Sockets, and what is at the other end of them.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "probe.hpp"

namespace probe {
namespace {

Seen socket_door(int family, int type, int protocol, const char* what) {
  const int fd = ::socket(family, type | SOCK_CLOEXEC, protocol);
  if (fd < 0) return blocked(what);
  ::close(fd);
  return open_door(std::string(what) + " opened");
}
Seen raw(const std::string&) { return socket_door(AF_INET, SOCK_RAW, 1, "raw ICMP socket"); }
Seen raw6(const std::string&) { return socket_door(AF_INET6, SOCK_RAW, 58, "raw ICMPv6 socket"); }
Seen packet(const std::string&) { return socket_door(17, SOCK_RAW, 0, "packet socket"); }
Seen vsock(const std::string&) { return socket_door(40, SOCK_STREAM, 0, "vsock socket"); }
Seen crypto(const std::string&) { return socket_door(38, SOCK_SEQPACKET, 0, "AF_ALG socket"); }
Seen other_families(const std::string&) {
  for (int family = 1; family < 46; ++family) {
    if (family == AF_UNIX || family == AF_INET || family == AF_INET6 || family == 16 /* NETLINK */ || family == 17 || family == 38 ||
        family == 40)
      continue;
    for (const int type : {SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET}) {
      const int fd = ::socket(family, type | SOCK_CLOEXEC, 0);
      if (fd < 0) continue;
      ::close(fd);
      return open_door("address family " + std::to_string(family) + " opened");
    }
  }
  return blocked_text("of all address families only UNIX, INET, INET6 and NETLINK open");
}
/// Asks to take the loopback interface down.
Seen netlink_admin(const std::string&) {
  const int fd = ::socket(16, SOCK_RAW | SOCK_CLOEXEC, 0);
  if (fd < 0) return blocked("netlink socket");
  struct {
    std::uint32_t length;
    std::uint16_t type, flags;
    std::uint32_t sequence, port;
    unsigned char family, padding;
    std::uint16_t kind;
    std::int32_t index;
    std::uint32_t change_to, mask;
  } request{32, 16 /* NEWLINK */, 5 /* REQUEST|ACK */, 1, 0, 0, 0, 0, 1, 0, 1 /* IFF_UP */};
  if (::send(fd, &request, sizeof request, 0) < 0) return blocked("netlink send");
  unsigned char answer[512];
  const ssize_t size = ::recv(fd, answer, sizeof answer, 0);
  int error = -EPROTO;
  if (size >= 20) ::memcpy(&error, answer + 16, 4);
  errno = -error;
  return error < 0 ? blocked("take loopback down") : open_door("loopback was taken down");
}
Seen interfaces(const std::string&) {
  struct if_nameindex* all = ::if_nameindex();
  if (!all) return blocked("if_nameindex");
  for (const struct if_nameindex* one = all; one->if_index; ++one)
    if (::strcmp(one->if_name, "lo")) return open_door(std::string("there is an interface ") + one->if_name);
  return blocked_text("lo is the only interface");
}

/// "10.0.0.1:80" or "::ffff:10.0.0.1:80": the port stands behind the last colon.
bool parse(const std::string& text, sockaddr_storage& address, socklen_t& size) {
  const std::size_t colon = text.rfind(':');
  if (colon == text.npos) return false;
  const std::string host = text.substr(0, colon);
  const auto port = htons(static_cast<std::uint16_t>(::atoi(text.c_str() + colon + 1)));
  ::memset(&address, 0, sizeof address);
  if (host.find(':') == host.npos) {
    auto& four = reinterpret_cast<sockaddr_in&>(address);
    four.sin_family = AF_INET;
    four.sin_port = port;
    size = sizeof four;
    return ::inet_pton(AF_INET, host.c_str(), &four.sin_addr) == 1;
  }
  auto& six = reinterpret_cast<sockaddr_in6&>(address);
  six.sin6_family = AF_INET6;
  six.sin6_port = port;
  size = sizeof six;
  return ::inet_pton(AF_INET6, host.c_str(), &six.sin6_addr) == 1;
}
Seen connect_tcp(const std::string& argument) {
  sockaddr_storage address;
  socklen_t size = 0;
  if (!parse(argument, address, size)) return skipped("no address given");
  const int fd = ::socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return blocked("socket");
  if (::connect(fd, reinterpret_cast<sockaddr*>(&address), size) == 0) return open_door("connected to " + argument);
  if (errno != EINPROGRESS) return blocked("connect to " + argument);
  pollfd ready{fd, POLLOUT, 0};
  if (::poll(&ready, 1, 300) != 1) return blocked_text("connect to " + argument + ": no answer");
  int error = 0;
  socklen_t length = sizeof error;
  ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
  errno = error;
  return error ? blocked("connect to " + argument) : open_door("connected to " + argument);
}
/// "ADDRESS:PORT/TEXT". Whether it arrived is seen at the other end; here, whether the kernel let it go.
Seen send_udp(const std::string& argument) {
  const std::size_t slash = argument.find('/');
  sockaddr_storage address;
  socklen_t size = 0;
  if (slash == argument.npos || !parse(argument.substr(0, slash), address, size)) return skipped("no address given");
  const std::string text = argument.substr(slash + 1);
  const int fd = ::socket(address.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return blocked("socket");
  return verdict(::sendto(fd, text.data(), text.size(), 0, reinterpret_cast<sockaddr*>(&address), size),
                 "sendto " + argument.substr(0, slash));
}
/// Serves `argument`'s port in a process of its own until the sandbox ends.
Seen serve(const std::string& argument) {
  sockaddr_storage address;
  socklen_t size = 0;
  if (!parse(argument, address, size)) return skipped("no address given");
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(fd, reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(fd, 8) != 0) return blocked("listen");
  int begun[2];
  if (::pipe2(begun, O_CLOEXEC) != 0) return blocked("pipe");
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::setsid();
    // The pipe too: by its end our parent knows that we left its group, which is killed when it answers.
    for (int other = 0; other < 64; ++other)
      if (other != fd) ::close(other);
    for (;;) {
      const int connection = ::accept(fd, nullptr, nullptr);
      if (connection >= 0) ::close(connection);
    }
  }
  ::close(begun[1]);
  char none;
  (void)!::read(begun[0], &none, 1);
  return open_door("listening");
}
/// Our address on the way to `argument`, without sending anything.
Seen own_address(const std::string& argument) {
  sockaddr_storage address;
  socklen_t size = 0;
  if (!parse(argument, address, size)) return skipped("no address given");
  const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (::connect(fd, reinterpret_cast<sockaddr*>(&address), size) != 0) return blocked("route to " + argument);
  sockaddr_in own{};
  size = sizeof own;
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&own), &size);
  char text[64];
  return open_door(::inet_ntop(AF_INET, &own.sin_addr, text, sizeof text));
}

Seen abstract_socket(const std::string& argument) {
  if (argument.empty()) return skipped("no name given");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  ::memcpy(address.sun_path + 1, argument.data(), argument.size() < 100 ? argument.size() : 100);
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + argument.size());
  return verdict(::connect(fd, reinterpret_cast<sockaddr*>(&address), size), "connect to an abstract socket of the host");
}
Seen sysv_segment(const std::string& argument) {
  if (argument.empty()) return skipped("no segment given");
  const void* at = ::shmat(::atoi(argument.c_str()), nullptr, SHM_RDONLY);
  return at == reinterpret_cast<void*>(-1) ? blocked("attach a System V segment of the host")
                                           : open_door("attached a System V segment of the host");
}

constexpr Attempt kAttempts[] = {
    {"raw_socket", raw},
    {"raw6_socket", raw6},
    {"packet_socket", packet},
    {"vsock_socket", vsock},
    {"alg_socket", crypto},
    {"other_families", other_families},
    {"netlink_admin", netlink_admin},
    {"interfaces", interfaces},
    {"tcp", connect_tcp},
    {"udp", send_udp},
    {"serve", serve},
    {"own_address", own_address},
    {"abstract_socket", abstract_socket},
    {"sysv_segment", sysv_segment},
};

}  // namespace

std::span<const Attempt> network_attempts() { return kAttempts; }

}  // namespace probe
