#include "lab/netlab.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

#include "os/netlink.hpp"

namespace sandbox::lab {

namespace {

using core::UniqueFd;

[[noreturn]] void fail(const std::string& what) { throw std::runtime_error(what + ": " + std::strerror(errno)); }

UniqueFd own_space() {
  UniqueFd fd(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!fd) fail("own network namespace");
  return fd;
}

struct Network {
  in_addr address{};
  std::uint8_t prefix = 32;
};
Network parse(const std::string& text) {
  Network network;
  const auto slash = text.find('/');
  if (slash != std::string::npos) network.prefix = static_cast<std::uint8_t>(std::stoi(text.substr(slash + 1)));
  if (::inet_pton(AF_INET, text.substr(0, slash).c_str(), &network.address) != 1) throw std::runtime_error("bad address " + text);
  return network;
}

void transact(int netns, os::NetlinkBatch& batch) {
  NetLab::Inside inside(netns);
  auto socket = os::NetlinkSocket::open(NETLINK_ROUTE).value();
  socket.transact(batch, "netlab").value();
}

sockaddr_in socket_address(const std::string& address, std::uint16_t port) {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr = parse(address).address;
  return to;
}

UniqueFd socket_in(int netns, int type) {
  NetLab::Inside inside(netns);
  UniqueFd fd(::socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) fail("socket");
  return fd;
}

bool bind_to(int fd, const std::string& address, std::uint16_t port) {
  const sockaddr_in from = socket_address(address, port);
  return ::bind(fd, reinterpret_cast<const sockaddr*>(&from), sizeof from) == 0;
}

int index_in(int netns, const std::string& interface) {
  NetLab::Inside inside(netns);
  const unsigned index = ::if_nametoindex(interface.c_str());
  if (index == 0) fail("interface " + interface);
  return static_cast<int>(index);
}

void bring_up(int netns, const std::string& interface) {
  const UniqueFd fd = socket_in(netns, SOCK_DGRAM);
  ifreq request{};
  interface.copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_flags = IFF_UP;
  if (::ioctl(fd.get(), SIOCSIFFLAGS, &request) != 0) fail("up " + interface);
}

/// An interface drops everything until a work queue of the kernel noticed its carrier; asking for the link makes it notice.
void settle(int netns, const std::string& interface) {
  ifinfomsg header{};
  header.ifi_index = index_in(netns, interface);
  os::NetlinkBatch batch;
  batch.begin(RTM_GETLINK, 0, header);
  NetLab::Inside inside(netns);
  auto socket = os::NetlinkSocket::open(NETLINK_ROUTE).value();
  socket.query(batch, "netlab", [](const os::NetlinkMessage&) -> Result<void> { return {}; }).value();
}

}  // namespace

NetLab::Inside::Inside(int netns) : back_(own_space()) {
  if (::setns(netns, CLONE_NEWNET) != 0) fail("setns");
}
NetLab::Inside::~Inside() {
  if (::setns(back_.get(), CLONE_NEWNET) != 0) std::abort();
}

UniqueFd NetLab::make_space() {
  const UniqueFd back = own_space();
  if (::unshare(CLONE_NEWNET) != 0) fail("unshare");
  UniqueFd made = own_space();
  if (::setns(back.get(), CLONE_NEWNET) != 0) std::abort();
  bring_up(made.get(), "lo");
  return made;
}

void NetLab::cable(int a, const std::string& a_name, const std::string& a_address, int b, const std::string& b_name,
                   const std::string& b_address) {
  os::NetlinkBatch batch;
  batch.begin(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, ifinfomsg{})
      .put_string(IFLA_IFNAME, a_name)
      .nest(IFLA_LINKINFO)
      .put_string(IFLA_INFO_KIND, "veth")
      .nest(IFLA_INFO_DATA)
      .nest_struct(VETH_INFO_PEER, ifinfomsg{})
      .put_string(IFLA_IFNAME, b_name)
      .put_u32(IFLA_NET_NS_FD, static_cast<std::uint32_t>(b));
  transact(a, batch);
  bring_up(a, a_name);
  bring_up(b, b_name);
  add_address(a, a_name, a_address);
  add_address(b, b_name, b_address);
  settle(a, a_name);
  settle(b, b_name);
}

void NetLab::add_address(int netns, const std::string& interface, const std::string& address) {
  const Network network = parse(address);
  ifaddrmsg header{};
  header.ifa_family = AF_INET;
  header.ifa_prefixlen = network.prefix;
  header.ifa_index = static_cast<std::uint32_t>(index_in(netns, interface));
  os::NetlinkBatch batch;
  batch.begin(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, header)
      .put_struct(IFA_LOCAL, network.address)
      .put_struct(IFA_ADDRESS, network.address);
  transact(netns, batch);
}

void NetLab::add_route(int netns, const std::string& to, const std::string& via) {
  rtmsg header{};
  header.rtm_family = AF_INET;
  header.rtm_table = RT_TABLE_MAIN;
  header.rtm_protocol = RTPROT_STATIC;
  header.rtm_type = RTN_UNICAST;
  Network network;
  if (to != "default") {
    network = parse(to);
    header.rtm_dst_len = network.prefix;
  }
  os::NetlinkBatch batch;
  batch.begin(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, header);
  if (to != "default") batch.put_struct(RTA_DST, network.address);
  batch.put_struct(RTA_GATEWAY, parse(via).address);
  transact(netns, batch);
}

NetLab::NetLab() {
  for (const char* name : {"host", "public", "private", "metadata"}) spaces_.emplace(name, make_space());
  // A host as installed: it forwards nothing. The surroundings answer whoever asks them through the host.
  write_sysctl(host(), "net/ipv4/ip_forward", "0");
  cable(host(), "up0", "192.0.2.2/24", space("public"), "eth0", "192.0.2.1/24");
  add_address(space("public"), "lo", "198.51.100.10/32");
  add_address(space("public"), "lo", "203.0.113.10/32");
  add_route(host(), "default", "192.0.2.1");
  cable(host(), "lan0", "192.168.50.1/24", space("private"), "eth0", "192.168.50.10/24");
  add_address(space("private"), "lo", "10.200.0.10/32");
  add_route(space("private"), "default", "192.168.50.1");
  add_route(host(), "10.200.0.0/24", "192.168.50.10");
  cable(host(), "meta0", "169.254.169.1/24", space("metadata"), "eth0", "169.254.169.254/24");
  add_route(space("metadata"), "default", "169.254.169.1");

  wake_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  for (const auto& [name, fd] : spaces_) serve(fd.get(), name);
  thread_ = std::thread([this] { run(); });
}

NetLab::~NetLab() {
  stop_ = true;
  const std::uint64_t one = 1;
  (void)!::write(wake_.get(), &one, sizeof one);
  thread_.join();
}

UniqueFd NetLab::make_control() {
  UniqueFd made = make_space();
  const std::string number = std::to_string(++controls_);
  const std::string subnet = "10.99." + number + ".";
  cable(host(), "ctl" + number, subnet + "1/24", made.get(), "eth0", subnet + "2/24");
  add_route(made.get(), "default", subnet + "1");
  add_route(space("public"), subnet + "0/24", "192.0.2.2");
  for (const std::string& interface : {"ctl" + number, std::string("up0"), std::string("lan0"), std::string("meta0")}) {
    write_sysctl(host(), "net/ipv4/conf/" + interface + "/forwarding", "1");
  }
  return made;
}

bool NetLab::reaches(int netns, const std::string& address, std::uint16_t port, std::chrono::milliseconds patience,
                     const std::string& source) {
  const UniqueFd fd = socket_in(netns, SOCK_STREAM);
  if (!source.empty() && !bind_to(fd.get(), source, 0)) fail("bind to " + source);
  const sockaddr_in to = socket_address(address, port);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0) return true;
  if (errno != EINPROGRESS) return false;
  pollfd done{fd.get(), POLLOUT, 0};
  if (::poll(&done, 1, static_cast<int>(patience.count())) <= 0) return false;
  int error = 0;
  socklen_t size = sizeof error;
  ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size);
  return error == 0;
}

bool NetLab::send_datagram(int netns, const std::string& address, const std::string& text, const std::string& source) {
  const UniqueFd fd = socket_in(netns, SOCK_DGRAM);
  if (!source.empty() && !bind_to(fd.get(), source, 0)) fail("bind to " + source);
  const sockaddr_in to = socket_address(address, kTcpPort);
  return ::sendto(fd.get(), text.data(), text.size(), 0, reinterpret_cast<const sockaddr*>(&to), sizeof to) ==
         static_cast<ssize_t>(text.size());
}

void NetLab::serve(int netns, const std::string& name) {
  Server server;
  server.name = name;
  server.tcp = socket_in(netns, SOCK_STREAM);
  server.udp = socket_in(netns, SOCK_DGRAM);
  if (!bind_to(server.tcp.get(), "0.0.0.0", kTcpPort) || ::listen(server.tcp.get(), 16) != 0) fail("listen");
  if (!bind_to(server.udp.get(), "0.0.0.0", kTcpPort)) fail("bind");
  {
    std::lock_guard lock(mutex_);
    servers_.push_back(std::move(server));
  }
  const std::uint64_t one = 1;
  (void)!::write(wake_.get(), &one, sizeof one);
}

void NetLab::run() {
  while (!stop_) {
    std::vector<pollfd> fds = {{wake_.get(), POLLIN, 0}};
    std::vector<std::string> names;
    {
      std::lock_guard lock(mutex_);
      for (const Server& server : servers_) {
        names.push_back(server.name);
        fds.push_back({server.tcp.get(), POLLIN, 0});
        fds.push_back({server.udp.get(), POLLIN, 0});
      }
    }
    if (::poll(fds.data(), fds.size(), -1) < 0) continue;
    std::uint64_t ignored;
    (void)!::read(wake_.get(), &ignored, sizeof ignored);
    for (std::size_t i = 1; i < fds.size(); ++i) {
      if (!fds[i].revents) continue;
      sockaddr_in from{};
      socklen_t size = sizeof from;
      Seen seen{names[(i - 1) / 2], {}, {}};
      if (i % 2 == 1) {
        const UniqueFd connection(::accept4(fds[i].fd, reinterpret_cast<sockaddr*>(&from), &size, SOCK_CLOEXEC));
        if (!connection) continue;
        (void)!::send(connection.get(), seen.server.data(), seen.server.size(), MSG_NOSIGNAL);
      } else {
        char text[512];
        const ssize_t got = ::recvfrom(fds[i].fd, text, sizeof text, 0, reinterpret_cast<sockaddr*>(&from), &size);
        if (got < 0) continue;
        seen.text.assign(text, static_cast<std::size_t>(got));
      }
      char address[INET_ADDRSTRLEN];
      seen.from = ::inet_ntop(AF_INET, &from.sin_addr, address, sizeof address);
      std::lock_guard lock(mutex_);
      seen_.push_back(std::move(seen));
    }
  }
}

std::vector<NetLab::Seen> NetLab::seen() const {
  std::lock_guard lock(mutex_);
  return seen_;
}

bool NetLab::wait_for(const std::string& text, std::chrono::milliseconds patience) const {
  const auto end = std::chrono::steady_clock::now() + patience;
  for (;;) {
    for (const Seen& entry : seen()) {
      if (entry.text == text) return true;
    }
    if (std::chrono::steady_clock::now() >= end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

std::vector<std::string> NetLab::interfaces(int netns) {
  Inside inside(netns);
  std::vector<std::string> names;
  struct if_nameindex* list = ::if_nameindex();
  for (auto* entry = list; entry && entry->if_index; ++entry) names.emplace_back(entry->if_name);
  ::if_freenameindex(list);
  return names;
}

std::string NetLab::read_sysctl(int netns, const std::string& path) {
  Inside inside(netns);
  const UniqueFd fd(::open(("/proc/sys/" + path).c_str(), O_RDONLY | O_CLOEXEC));
  char value[64];
  const ssize_t got = fd ? ::read(fd.get(), value, sizeof value) : -1;
  if (got < 0) fail(path);
  return std::string(value, static_cast<std::size_t>(got)).substr(0, std::string_view(value, static_cast<std::size_t>(got)).find('\n'));
}

void NetLab::write_sysctl(int netns, const std::string& path, const std::string& value) {
  Inside inside(netns);
  const UniqueFd fd(::open(("/proc/sys/" + path).c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd || ::write(fd.get(), value.data(), value.size()) < 0) fail(path);
}

}  // namespace sandbox::lab
