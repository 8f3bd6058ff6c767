#include "network.hpp"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/inet_diag.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "os/netlink.hpp"
#include "os/syscalls.hpp"

namespace sandbox::launcher {

namespace {

using core::UniqueFd;

constexpr int kLoopbackIndex = 1;    ///< `lo` is the first device of every network namespace
constexpr std::uint8_t kListen = 10; ///< TCP_LISTEN of the kernel's enum, which <netinet/tcp.h> hides

Result<UniqueFd> own_namespace() {
  UniqueFd fd(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!fd) return Error::from_errno(errno, "network.namespace", "/proc/thread-self/ns/net");
  return fd;
}

/// Going on in a sandbox's namespace while believing to be on the host would configure the wrong one.
void come_back(int host) {
  if (::setns(host, CLONE_NEWNET) == 0) return;
  std::perror("sandbox-launcher: cannot return to its network namespace");
  std::abort();
}

/// The address of lo that is tried first, or second.
struct Loopback {
  explicit Loopback(bool ipv6, std::uint16_t port) : size(ipv6 ? sizeof v6 : sizeof v4) {
    if (ipv6) {
      v6 = sockaddr_in6{};
      v6.sin6_family = AF_INET6;
      v6.sin6_port = htons(port);
      v6.sin6_addr = IN6ADDR_LOOPBACK_INIT;
    } else {
      v4 = sockaddr_in{};
      v4.sin_family = AF_INET;
      v4.sin_port = htons(port);
      v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    }
  }
  union {
    sockaddr any;
    sockaddr_in v4;
    sockaddr_in6 v6;
  };
  socklen_t size;
};

}  // namespace

long raise_loopback() noexcept {
  using os::raw::call;
  const long fd = call(SYS_socket, AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return fd;
  ifreq request{};
  std::memcpy(request.ifr_name, "lo", 3);
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  const long result = call(SYS_ioctl, fd, SIOCSIFFLAGS, &request);
  call(SYS_close, fd);
  return result;
}

Result<void> loopback_up() {
  if (const long result = raise_loopback(); result < 0) return Error::from_errno(static_cast<int>(-result), "network.loopback", "lo");
  return {};
}

Result<InsideNamespace> InsideNamespace::enter(int netns_fd) {
  SANDBOX_TRY(UniqueFd host, own_namespace());
  if (::setns(netns_fd, CLONE_NEWNET) != 0) return Error::from_errno(errno, "network.enter", "setns");
  return InsideNamespace(std::move(host));
}

InsideNamespace::~InsideNamespace() {
  if (host_) come_back(host_.get());
}

Result<UniqueFd> make_network_namespace() {
  SANDBOX_TRY(const UniqueFd host, own_namespace());
  if (::unshare(CLONE_NEWNET) != 0) return Error::from_errno(errno, "network.namespace", "unshare");
  const long up = raise_loopback();
  auto made = own_namespace();
  come_back(host.get());
  if (up < 0) {
    made.ignore("loopback failed first");
    return Error::from_errno(static_cast<int>(-up), "network.loopback", "lo");
  }
  return made;
}

Result<InsideConnection> InsideConnection::start(int netns_fd, std::uint16_t port) {
  if (port == 0) return Error(ErrorCode::invalid_argument, "port 0").with_operation("network.connect");
  InsideConnection connection;
  connection.port_ = port;
  SANDBOX_TRY(connection.state_, connection.attempt(netns_fd));
  return connection;
}

Result<InsideConnection::State> InsideConnection::attempt(int netns_fd) {
  fd_.reset();
  {
    SANDBOX_TRY(const InsideNamespace inside, InsideNamespace::enter(netns_fd));
    fd_.reset(::socket(ipv6_ ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd_ && ipv6_ && errno == EAFNOSUPPORT) return State::refused;
    if (!fd_) return Error::from_errno(errno, "network.connect", "socket");
  }
  // The socket stays in the sandbox's namespace, so the connection may be made from here.
  const Loopback to(ipv6_, port_);
  if (::connect(fd_.get(), &to.any, to.size) == 0) return State::connected;
  if (errno != EINPROGRESS) return settle(netns_fd, errno);
  return advance(netns_fd);
}

Result<InsideConnection::State> InsideConnection::advance(int netns_fd) {
  // On loopback the answer is almost always here before connect(2) returns.
  pollfd ready{fd_.get(), POLLOUT, 0};
  if (::poll(&ready, 1, 0) == 0) return state_ = State::pending;
  int socket_error = 0;
  socklen_t size = sizeof socket_error;
  if (::getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &socket_error, &size) != 0) socket_error = errno;
  return settle(netns_fd, socket_error);
}

Result<InsideConnection::State> InsideConnection::settle(int netns_fd, int socket_error) {
  switch (socket_error) {
    case 0:
      return state_ = State::connected;
    // EADDRNOTAVAIL: no ::1 where IPv6 is switched off.
    case ECONNREFUSED: case EADDRNOTAVAIL: case ENETUNREACH: case EHOSTUNREACH: case ECONNRESET: case ETIMEDOUT:
      if (ipv6_) {
        fd_.reset();
        return state_ = State::refused;
      }
      ipv6_ = true;
      return attempt(netns_fd);
    default:
      fd_.reset();
      return Error::from_errno(socket_error, "network.connect", "connect");
  }
}

namespace {

/// Whether the kernel has a listener that would take a connection from lo. Asking for one exact socket costs one hash
/// lookup, where a dump would walk the listeners of every namespace of the machine.
Result<bool> has_listener(os::NetlinkSocket& diag, bool ipv6, std::uint16_t port) {
  inet_diag_req_v2 request{};
  request.sdiag_family = ipv6 ? AF_INET6 : AF_INET;
  request.sdiag_protocol = IPPROTO_TCP;
  request.idiag_states = 1u << kListen;
  request.id.idiag_sport = htons(port);
  request.id.idiag_if = kLoopbackIndex;
  request.id.idiag_cookie[0] = request.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
  // The far end is this same address with port 0, which no connection has: only a listener can match.
  if (ipv6) {
    request.id.idiag_src[3] = request.id.idiag_dst[3] = htonl(1);
  } else {
    request.id.idiag_src[0] = request.id.idiag_dst[0] = htonl(INADDR_LOOPBACK);
  }
  os::NetlinkBatch batch;
  batch.begin(SOCK_DIAG_BY_FAMILY, 0, request);
  bool found = false;
  auto asked = diag.query(batch, "network.listening", [&](const os::NetlinkMessage& message) -> Result<void> {
    const auto socket = message.header<inet_diag_msg>();
    found = socket && socket->idiag_state == kListen;
    return {};
  });
  if (!asked && asked.error().sys_errno() == ENOENT) return false;
  SANDBOX_CHECK(asked);
  return found;
}

}  // namespace

Result<bool> listening_inside(int netns_fd, std::uint16_t port) {
  if (port == 0) return Error(ErrorCode::invalid_argument, "port 0").with_operation("network.listening");
  SANDBOX_TRY(const InsideNamespace inside, InsideNamespace::enter(netns_fd));
  SANDBOX_TRY(auto diag, os::NetlinkSocket::open(NETLINK_SOCK_DIAG));
  SANDBOX_TRY(const bool v4, has_listener(diag, false, port));
  if (v4) return true;
  return has_listener(diag, true, port);
}

Result<NetworkStats> interface_stats(int netns_fd) {
  SANDBOX_TRY(const InsideNamespace inside, InsideNamespace::enter(netns_fd));
  SANDBOX_TRY(auto route, os::NetlinkSocket::open(NETLINK_ROUTE));
  os::NetlinkBatch batch;
  batch.begin(RTM_GETLINK, NLM_F_DUMP, ifinfomsg{});
  NetworkStats sum;
  SANDBOX_CHECK(route.query(batch, "network.stats", [&](const os::NetlinkMessage& message) -> Result<void> {
    const auto link = message.header<ifinfomsg>();
    if (!link || (link->ifi_flags & IFF_LOOPBACK)) return {};
    const auto value = os::NetlinkAttributes::find(message.attributes<ifinfomsg>(), IFLA_STATS64);
    rtnl_link_stats64 stats{};
    if (!value) return {};
    std::memcpy(&stats, value->value.data(), std::min(sizeof stats, value->value.size()));
    sum.rx_bytes += stats.rx_bytes;
    sum.tx_bytes += stats.tx_bytes;
    sum.rx_packets += stats.rx_packets;
    sum.tx_packets += stats.tx_packets;
    return {};
  }));
  return sum;
}

}  // namespace sandbox::launcher
