#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <sandbox/result.hpp>

#include "core/unique_fd.hpp"

/// Everything the launcher does to networks. "The host" below is the network namespace the launcher runs in, whatever
/// that is: a test runs the launcher inside a namespace of its own and no packet leaves the machine.
/// Single-threaded, guest-compilable. Unless said otherwise calls take microseconds and need CAP_NET_ADMIN and
/// CAP_SYS_ADMIN over the namespaces involved.
///
/// Some calls enter the sandbox's network namespace and come back. Should coming back fail (it needs the descriptor
/// only, so it does not), the process ends: going on in the wrong namespace is never right.
namespace sandbox::launcher {

/// A fresh network namespace with loopback up, owned by the caller's user namespace, so that a sandbox in a user
/// namespace of its own holds no capability over it. The caller stays where it is. About 0.7 ms.
/// The kernel removes the namespace in the background some time after the last process and descriptor are gone.
/// Errors: permission_denied, resource_exhausted (ENOSPC: user.max_net_namespaces), operation "network.namespace".
Result<core::UniqueFd> make_network_namespace();

/// Brings `lo` up in the namespace of the caller. For a child that was cloned with CLONE_NEWNET.
Result<void> loopback_up();
/// The same for a child that shares the launcher's memory: 0 or -errno; allocates nothing and leaves errno alone.
long raise_loopback() noexcept;

/// The calling thread is inside `netns_fd` while this lives. Sockets made meanwhile stay there. A few microseconds.
class InsideNamespace {
 public:
  /// Errors: internal or permission_denied from setns(2); then the caller is still where it was.
  static Result<InsideNamespace> enter(int netns_fd);
  InsideNamespace(InsideNamespace&& other) noexcept : host_(std::move(other.host_)) {}
  InsideNamespace& operator=(InsideNamespace&&) = delete;
  /// Back to where the caller was.
  ~InsideNamespace();

 private:
  explicit InsideNamespace(core::UniqueFd host) noexcept : host_(std::move(host)) {}
  core::UniqueFd host_;
};

/// A TCP connection being made from inside a sandbox's network namespace to its loopback: 127.0.0.1 first, then ::1.
/// Usually start() already knows the outcome; when not, wait until fd() is writable and call advance().
class InsideConnection {
 public:
  enum class State : std::uint8_t {
    pending,    ///< wait for fd() to become writable (EPOLLOUT|EPOLLERR|EPOLLHUP), then advance()
    connected,  ///< take() is the socket
    refused,    ///< nobody listens on either address; start() again later if there is time
  };
  /// `netns_fd` is borrowed for this call. Errors: resource_exhausted (descriptors), others from socket(2)/setns(2).
  static Result<InsideConnection> start(int netns_fd, std::uint16_t port);

  State state() const noexcept { return state_; }
  /// The non-blocking, close-on-exec socket now in progress. It changes when advance() goes on to ::1: register it
  /// with epoll again after each advance() that answers pending.
  int fd() const noexcept { return fd_.get(); }
  /// `netns_fd` as for start().
  Result<State> advance(int netns_fd);
  core::UniqueFd take() noexcept { return std::move(fd_); }

 private:
  Result<State> attempt(int netns_fd);
  Result<State> settle(int netns_fd, int socket_error);
  core::UniqueFd fd_;
  std::uint16_t port_ = 0;
  bool ipv6_ = false;
  State state_ = State::pending;
};

/// Whether a connection to `port` on the sandbox's 127.0.0.1 or ::1 would find a listener, asked of sock_diag: nothing
/// is connected and no accept queue is touched.
Result<bool> listening_inside(int netns_fd, std::uint16_t port);

/// Sums over every interface but loopback, as the sandbox sees them (received is what reached it).
struct NetworkStats {
  std::uint64_t rx_bytes = 0;
  std::uint64_t tx_bytes = 0;
  std::uint64_t rx_packets = 0;
  std::uint64_t tx_packets = 0;
};
Result<NetworkStats> interface_stats(int netns_fd);

/// An IPv4 network, host byte order: {0x0a000000, 8} is 10.0.0.0/8.
struct Ipv4Network {
  std::uint32_t address = 0;
  std::uint8_t prefix_length = 0;
};

/// Network::bridge of one launcher.
struct BridgeConfig {
  /// Where sandboxes get their addresses: a network of /16 to /28, or a wider one of which the launcher takes a /16.
  /// prefix_length 0: 10.0.0.0/8 and other private space. What it takes overlaps no route of the host and belongs to no
  /// other launcher.
  Ipv4Network range;
  /// Refused on top of every private, shared, link-local, metadata, multicast and reserved network.
  std::vector<Ipv4Network> also_denied;
  /// Whether forwarding may be switched on for the interface of the default route where it is off. If so, a guard rule
  /// keeps the host from forwarding anything it did not forward before, and both are undone by the last user.
  /// If not, bridge_setup fails where it is off.
  bool may_enable_forwarding = true;
  std::uint32_t mtu = 1500;
};

/// One sandbox's place on the network.
struct BridgeAttachment {
  std::uint32_t address = 0;            ///< host byte order; its own, /32
  std::uint32_t gateway = 0;
  std::array<char, 16> host_interface;  ///< NUL-terminated
};

/// The launcher's half of Network::bridge: address range, packet filter, forwarding. Destruction undoes what setup did:
/// interfaces, filter table, forwarding. A launcher that was killed leaves its filter table (it fails closed); the next
/// setup in the same host namespace sweeps it.
class Bridge {
 public:
  /// Milliseconds; once per launcher, when the first plan with a bridge arrives.
  /// Errors: failed_precondition naming what is missing (no nf_tables, no fib expression, forwarding off and not to be
  /// enabled, no free range, rootless).
  static Result<std::unique_ptr<Bridge>> setup(const BridgeConfig& config);
  ~Bridge();
  Bridge(const Bridge&) = delete;
  Bridge& operator=(const Bridge&) = delete;

  /// Gives the namespace an eth0 with an address of its own and a default route. The host end disappears with the
  /// namespace; nothing has to be undone. May be called ahead, for a namespace that waits in a pool.
  /// Errors: resource_exhausted (range full), failed_precondition (the filter table is gone: nothing was attached).
  Result<BridgeAttachment> attach(int netns_fd);

  /// Becomes readable when somebody changes the host's packet filter; call check() then. -1 when there is nothing to
  /// watch (the kernel protects the table by itself).
  int watch_fd() const noexcept;
  /// Puts the filter back if somebody removed it. Errors: the interfaces of all sandboxes were taken down (fails closed).
  Result<void> check();

  Ipv4Network range() const noexcept;
  struct State;

 private:
  explicit Bridge(std::unique_ptr<State> state) noexcept;
  std::unique_ptr<State> state_;
};

}  // namespace sandbox::launcher
