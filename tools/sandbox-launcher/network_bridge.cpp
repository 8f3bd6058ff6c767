// Network::bridge. Each sandbox hangs on a wire of its own: a veth pair whose host end is routed, not bridged, so that
// sandboxes share no link layer and the route back says which source address may come from where.
// docs/PRIVSEP.md, "Network", has the picture; docs/adr/0010 why there is no bridge device.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <optional>

#include "network.hpp"
#include "os/net_filter.hpp"
#include "os/netlink.hpp"

namespace sandbox::launcher {

namespace {

using core::UniqueFd;

// Names on the host. "sbx0ad5-0012" is the host end of 10.213.0.18; the first eight characters name the launcher.
constexpr std::string_view kAnyInterface = "sbx";
constexpr std::string_view kTablePrefix = "sandbox-";
constexpr std::string_view kGuardPrefix = "forwarding-was-off-";  ///< an empty chain that remembers what to restore
constexpr std::string_view kLockPrefix = "sandbox-bridge/";       ///< abstract sockets: one per host namespace, freed by the kernel

constexpr int kSandboxIndex = 100;                ///< of eth0 inside
constexpr std::uint32_t kIndexBase = 0x40000000;  ///< host ends, far from the numbers the kernel gives out itself
constexpr std::uint32_t kMaxAttempts = 4096;      ///< addresses tried before the range counts as full
constexpr std::int32_t kPriorityRaw = -300, kPriorityFilter = 0, kPrioritySourceNat = 100;  ///< linux/netfilter_ipv4.h
constexpr std::array<std::uint8_t, 6> kHostMac = {0x02, 0x53, 0, 0, 0, 1};
constexpr std::uint8_t kTcp = 6, kUdp = 17, kIcmp = 1;

// From <linux/ip.h>, enum IPV4_DEVCONF_*: the kernel's numbering, minus nothing.
constexpr std::uint16_t kDevconfForwarding = 1, kDevconfAcceptRedirects = 4, kDevconfSendRedirects = 6,
                        kDevconfRpFilter = 8, kDevconfAcceptSourceRoute = 9;

/// What no sandbox reaches, besides whatever the host calls its own: IANA special-purpose registries (RFC 6890 and
/// successors) except the documentation networks, which lead nowhere, and the one public address that serves metadata.
constexpr Ipv4Network kDenied[] = {
    {0x00000000, 8},   // "this network", RFC 1122
    {0x0a000000, 8},   // private, RFC 1918
    {0x64400000, 10},  // carrier-grade NAT, RFC 6598; also where Alibaba serves metadata
    {0x7f000000, 8},   // loopback
    {0xa83f8110, 32},  // 168.63.129.16, Azure's host agent
    {0xa9fe0000, 16},  // link-local, RFC 3927; 169.254.169.254 is metadata nearly everywhere
    {0xac100000, 12},  // private
    {0xc0000000, 24},  // IETF protocol assignments, RFC 6890; Oracle's metadata
    {0xc0586300, 24},  // 6to4 relays, RFC 7526
    {0xc0a80000, 16},  // private
    {0xc6120000, 15},  // benchmarking, RFC 2544
    {0xe0000000, 4},   // multicast
    {0xf0000000, 4},   // reserved and broadcast
};

std::uint32_t mask_of(std::uint8_t prefix_length) {
  return prefix_length == 0 ? 0 : ~std::uint32_t{0} << (32 - prefix_length);
}
bool overlap(Ipv4Network a, Ipv4Network b) {
  const std::uint32_t mask = mask_of(std::min(a.prefix_length, b.prefix_length));
  return (a.address & mask) == (b.address & mask);
}

std::string text_of(Ipv4Network network) {
  char text[24];
  std::snprintf(text, sizeof text, "%u.%u.%u.%u/%u", network.address >> 24, network.address >> 16 & 255,
                network.address >> 8 & 255, network.address & 255, network.prefix_length);
  return text;
}

/// Four digits for the upper half of the range: names the launcher's locks, table and interfaces.
std::string id_of(Ipv4Network range) {
  char text[8];
  std::snprintf(text, sizeof text, "%04x", range.address >> 16);
  return text;
}

Error missing(std::string what) { return Error(ErrorCode::failed_precondition, std::move(what)).with_operation("network.bridge"); }

/// An error of a step of setup: the caller cannot do anything about it but change the host.
Error cannot(std::string_view what, Error cause) {
  const int number = cause.sys_errno();
  Error error = missing("Network::bridge needs " + std::string(what) + ": " + cause.message()).with_errno(number);
  return std::move(error).with_cause(std::move(cause));
}

/// A name that one process of this host namespace holds. The kernel frees it when the holder ends, however it ends.
class NameLock {
 public:
  /// Nothing when somebody else holds it.
  static Result<std::optional<NameLock>> try_take(std::string_view name) {
    UniqueFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) return Error::from_errno(errno, "network.lock", "socket");
    const auto [address, size] = address_of(name);
    if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0) {
      if (errno == EADDRINUSE) return std::optional<NameLock>();
      return Error::from_errno(errno, "network.lock", name);
    }
    if (::listen(fd.get(), 64) != 0) return Error::from_errno(errno, "network.lock", name);
    return std::optional<NameLock>(NameLock(std::move(fd)));
  }

  /// Waits for the holder by connecting to it: the connection breaks when the holder lets go.
  static Result<NameLock> take(std::string_view name, int patience_ms) {
    timespec start{}, now{};
    ::clock_gettime(CLOCK_MONOTONIC, &start);
    for (;;) {
      SANDBOX_TRY(auto lock, try_take(name));
      if (lock) return std::move(*lock);
      ::clock_gettime(CLOCK_MONOTONIC, &now);
      const auto spent = (now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000;
      if (spent >= patience_ms) return missing("another launcher has held \"" + std::string(name) + "\" for too long");
      UniqueFd waiter(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
      if (!waiter) return Error::from_errno(errno, "network.lock", "socket");
      const auto [address, size] = address_of(name);
      if (::connect(waiter.get(), reinterpret_cast<const sockaddr*>(&address), size) == 0) {
        pollfd gone{waiter.get(), POLLIN, 0};
        ::poll(&gone, 1, static_cast<int>(patience_ms - spent));
      } else if (errno != ECONNREFUSED) {  // refused: let go between the two calls
        return Error::from_errno(errno, "network.lock", name);
      }
    }
  }

 private:
  explicit NameLock(UniqueFd fd) : fd_(std::move(fd)) {}
  static std::pair<sockaddr_un, socklen_t> address_of(std::string_view name) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::string text(kLockPrefix);
    text += name;
    text.copy(address.sun_path + 1, sizeof address.sun_path - 1);
    return {address, static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + text.size())};
  }
  UniqueFd fd_;
};

/// A file below /proc/sys/net, which is that of the calling thread's namespace.
std::string forwarding_file(std::string_view interface) {
  return "/proc/sys/net/ipv4/conf/" + std::string(interface) + "/forwarding";
}
Result<bool> read_flag(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  char value = 0;
  if (!fd || ::read(fd.get(), &value, 1) != 1) return Error::from_errno(errno, "network.forwarding", path);
  return value != '0';
}
Result<void> write_flag(const std::string& path, bool on) {
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd || ::write(fd.get(), on ? "1" : "0", 1) != 1) return Error::from_errno(errno, "network.forwarding", path);
  return {};
}

struct Routes {
  std::vector<Ipv4Network> destinations;  ///< without default routes
  std::vector<int> default_interfaces;
};

/// Every IPv4 route of every table, the local one included.
Result<Routes> read_routes(os::NetlinkSocket& route) {
  Routes routes;
  for (int attempt = 0;; ++attempt) {
    routes = Routes();
    os::NetlinkBatch batch;
    rtmsg request{};
    request.rtm_family = AF_INET;
    batch.begin(RTM_GETROUTE, NLM_F_DUMP, request);
    auto done = route.query(batch, "network.routes", [&](const os::NetlinkMessage& message) -> Result<void> {
      const auto header = message.header<rtmsg>();
      if (!header || header->rtm_family != AF_INET) return {};
      const ByteView attributes = message.attributes<rtmsg>();
      if (header->rtm_dst_len > 0) {
        const auto to = os::NetlinkAttributes::find(attributes, RTA_DST);
        if (to) routes.destinations.push_back({to->be32().value_or(0), header->rtm_dst_len});
      } else if (header->rtm_type == RTN_UNICAST) {
        if (const auto out = os::NetlinkAttributes::find(attributes, RTA_OIF)) {
          routes.default_interfaces.push_back(static_cast<int>(out->u32().value_or(0)));
        }
        if (const auto paths = os::NetlinkAttributes::find(attributes, RTA_MULTIPATH)) {
          ByteView rest = paths->value;
          while (rest.size() >= sizeof(rtnexthop)) {
            rtnexthop hop;
            std::memcpy(&hop, rest.data(), sizeof hop);
            routes.default_interfaces.push_back(hop.rtnh_ifindex);
            if (hop.rtnh_len < sizeof hop) break;
            rest = rest.subspan(std::min<std::size_t>(NLMSG_ALIGN(hop.rtnh_len), rest.size()));
          }
        }
      }
      return {};
    });
    if (!done && done.error().retry() == Retry::now && attempt < 16) continue;
    SANDBOX_CHECK(done);
    return routes;
  }
}

/// Deletes all host ends of a launcher at once: one grace period for all.
Result<void> delete_group(os::NetlinkSocket& route, std::uint32_t group) {
  os::NetlinkBatch batch;
  batch.begin(RTM_DELLINK, NLM_F_ACK, ifinfomsg{}).put_u32(IFLA_GROUP, group);
  auto done = route.transact(batch, "network.detach");
  if (!done && done.error().sys_errno() == ENODEV) return {};  // none left
  return done;
}

}  // namespace

struct Bridge::State {
  BridgeConfig config;
  Ipv4Network range;
  std::string id;
  std::string table;
  std::string interface_prefix;  ///< "sbx0ad5-"
  std::uint32_t group = 0;       ///< of the host ends (ip link show group N)
  std::uint32_t gateway = 0;
  std::uint32_t next = 0;
  bool ipv6 = false;             ///< the kernel has it
  bool owned = false;            ///< the kernel keeps others from changing the table
  std::uint32_t rules = 0;
  std::uint32_t generation = 0;  ///< of the host's tables when ours was last seen whole
  std::vector<std::string> guarded;  ///< interfaces that forward only because of us
  std::optional<NameLock> lock;
  std::optional<os::NetlinkSocket> route;
  std::optional<os::NetlinkSocket> filter;  ///< owns the table: must stay open
  std::optional<os::NetlinkSocket> watch;
  bool installed = false;

  Result<void> choose_range(const Routes& routes);
  Result<void> sweep(std::vector<std::string>& inherited);
  Result<void> prepare_forwarding(const Routes& routes, const std::vector<std::string>& inherited);
  Result<void> install();
  Result<void> install(std::uint32_t flags);
  Result<bool> intact();
  void use(Ipv4Network network, NameLock name);
  void undo();
  Result<void> make_wire(std::uint32_t address, const std::string& name, int netns_fd);
  Result<void> host_end(std::uint32_t address);
  Result<void> sandbox_end(std::uint32_t address, int netns_fd);
  Result<void> settle(std::uint32_t address);
};

void Bridge::State::use(Ipv4Network network, NameLock name) {
  range = network;
  lock.emplace(std::move(name));
  id = id_of(network);
  table = std::string(kTablePrefix) + id;
  interface_prefix = std::string(kAnyInterface) + id + "-";
  group = 0x53420000u | (network.address >> 16);
  gateway = network.address + 1;
  next = 2;
}

Result<void> Bridge::State::choose_range(const Routes& routes) {
  const auto overlapped = [&](Ipv4Network candidate) {
    return std::find_if(routes.destinations.begin(), routes.destinations.end(),
                        [&](Ipv4Network route_to) { return overlap(candidate, route_to); });
  };
  const Ipv4Network wanted = config.range;
  if (wanted.prefix_length != 0 &&
      (wanted.prefix_length < 8 || wanted.prefix_length > 28 || (wanted.address & ~mask_of(wanted.prefix_length)))) {
    return Error(ErrorCode::invalid_argument, text_of(wanted) + " is not a network of /8 to /28").with_operation("network.bridge");
  }
  if (wanted.prefix_length >= 16) {
    SANDBOX_TRY(auto name, NameLock::try_take(id_of(wanted)));
    if (!name) return missing("addresses " + text_of(wanted) + " are in use by another launcher");
    if (const auto found = overlapped(wanted); found != routes.destinations.end()) {
      return missing("addresses " + text_of(wanted) + " overlap the host's route to " + text_of(*found));
    }
    use(wanted, std::move(*name));
    return {};
  }
  std::vector<Ipv4Network> candidates;
  for (std::uint32_t i = 0; wanted.prefix_length != 0 && i < 1u << (16 - wanted.prefix_length); ++i) {
    candidates.push_back({wanted.address + (i << 16), 16});
  }
  // Begins where few networks are, visits each once (37 and 256 have no common divisor), then other private space.
  if (wanted.prefix_length == 0) {
    for (std::uint32_t i = 0, octet = 213; i < 256; ++i, octet = (octet + 37) % 256) {
      candidates.push_back({0x0a000000u | octet << 16, 16});
    }
    for (std::uint32_t octet = 31; octet >= 16; --octet) candidates.push_back({0xac000000u | octet << 16, 16});
    for (std::uint32_t octet = 127; octet >= 64; --octet) candidates.push_back({0x64000000u | octet << 16, 16});
  }
  for (const Ipv4Network candidate : candidates) {
    if (overlapped(candidate) != routes.destinations.end()) continue;
    SANDBOX_TRY(auto name, NameLock::try_take(id_of(candidate)));
    if (!name) continue;
    use(candidate, std::move(*name));
    return {};
  }
  return missing("no free network of /16 for sandboxes: the host has routes to all, or other launchers use them; set a range");
}

/// Removes what launchers left that were killed. What they had to restore is inherited, so that the last one restores it.
/// Interfaces whose launcher lives also count: forwarding stays on as long as anybody needs it.
Result<void> Bridge::State::sweep(std::vector<std::string>& inherited) {
  SANDBOX_TRY(const auto chains, os::filter_chains(*filter));
  SANDBOX_TRY(const auto tables, os::filter_tables(*filter));
  for (const auto& [owner, chain] : chains) {
    if (owner.starts_with(kTablePrefix) && chain.starts_with(kGuardPrefix)) {
      inherited.push_back(chain.substr(kGuardPrefix.size()));
    }
  }
  for (const std::string& name : tables) {
    if (!name.starts_with(kTablePrefix) || name.size() != kTablePrefix.size() + 4) continue;
    const std::string other = name.substr(kTablePrefix.size());
    unsigned upper = 0;
    if (std::sscanf(other.c_str(), "%4x", &upper) != 1) continue;
    SANDBOX_TRY(const auto dead, NameLock::try_take(other));
    if (!dead) continue;
    SANDBOX_CHECK(delete_group(*route, 0x53420000u | upper));
    os::FilterTransaction transaction;
    transaction.delete_table(name);
    SANDBOX_CHECK(transaction.commit(*filter));
  }
  return {};
}

Result<void> Bridge::State::prepare_forwarding(const Routes& routes, const std::vector<std::string>& inherited) {
  SANDBOX_TRY(const bool host_forwards, read_flag(forwarding_file("all")));
  std::vector<std::string> interfaces;
  for (const int index : routes.default_interfaces) {
    char name[IF_NAMESIZE] = {};
    if (::if_indextoname(static_cast<unsigned>(index), name) == nullptr) continue;  // gone since
    if (std::find(interfaces.begin(), interfaces.end(), name) == interfaces.end()) interfaces.emplace_back(name);
  }
  // Left by launchers that died on interfaces that are no longer anybody's default route: guard them all the same.
  for (const std::string& name : inherited) {
    if (::if_nametoindex(name.c_str()) && std::find(interfaces.begin(), interfaces.end(), name) == interfaces.end()) {
      interfaces.push_back(name);
    }
  }
  for (const std::string& name : interfaces) {
    const bool theirs = std::find(inherited.begin(), inherited.end(), name) != inherited.end();
    SANDBOX_TRY(const bool on, read_flag(forwarding_file(name)));
    if (on && (!theirs || host_forwards)) continue;  // the host's own wish
    if (!on && !config.may_enable_forwarding) {
      return missing("IPv4 forwarding is off on " + name + " and may not be switched on (net.ipv4.conf." + name + ".forwarding)");
    }
    guarded.push_back(name);
  }
  return {};
}

Result<void> Bridge::State::install(std::uint32_t flags) {
  const std::string_view sandboxes = interface_prefix;
  os::FilterTransaction filters;
  filters.add_table(table, flags);
  filters.add_chain("denied").add_chain("from_sandbox").add_chain("to_sandbox").add_chain("from_host");

  const auto deny = [&](Ipv4Network network) {
    filters.rule("denied").destination(network.address, network.prefix_length).count().drop();
  };
  for (const Ipv4Network network : kDenied) deny(network);
  for (const Ipv4Network network : config.also_denied) deny(network);
  deny(range);  // private as a rule, but it is configurable

  // Before any address translation of the host's: what a sandbox sends, as it sends it.
  filters.add_base_chain("prerouting", "filter", os::kHookPrerouting, kPriorityRaw);
  filters.rule("prerouting").input_prefix(sandboxes).jump("from_sandbox");
  filters.rule("from_sandbox").not_ipv4().count().drop();
  filters.rule("from_sandbox").no_reverse_path().count().drop();          // a source that is not its own
  filters.rule("from_sandbox").destination_not_unicast().count().drop();  // the host, public addresses of it included
  filters.rule("from_sandbox").jump("denied");
  for (const std::uint8_t protocol : {kTcp, kUdp, kIcmp}) filters.rule("from_sandbox").protocol(protocol).accept();
  filters.rule("from_sandbox").count().drop();

  // After address translation: where the packet really goes.
  filters.add_base_chain("input", "filter", os::kHookInput, kPriorityFilter);
  filters.rule("input").input_prefix(sandboxes).count().drop();
  filters.add_base_chain("forward", "filter", os::kHookForward, kPriorityFilter);
  filters.rule("forward").input_prefix(sandboxes).output_prefix(kAnyInterface).count().drop();
  filters.rule("forward").input_prefix(sandboxes).jump("denied");
  filters.rule("forward").output_prefix(sandboxes).jump("to_sandbox");
  filters.rule("to_sandbox").connection_state(os::FilterTransaction::kEstablished | os::FilterTransaction::kRelated).accept();
  filters.rule("to_sandbox").count().drop();

  // The host answers with errors that belong to a connection (path MTU); it starts nothing. Ports are reached by
  // connecting inside the namespace.
  filters.add_base_chain("output", "filter", os::kHookOutput, kPriorityFilter);
  filters.rule("output").output_prefix(sandboxes).jump("from_host");
  filters.rule("from_host").protocol(kIcmp).connection_state(os::FilterTransaction::kRelated).accept();
  filters.rule("from_host").count().drop();

  filters.add_base_chain("postrouting", "nat", os::kHookPostrouting, kPrioritySourceNat);
  filters.rule("postrouting").source(range.address, range.prefix_length).output_not_prefix(kAnyInterface).masquerade();

  // An interface that forwards only because of us forwards only for us.
  for (const std::string& name : guarded) {
    filters.add_chain(std::string(kGuardPrefix) + name);
    filters.rule("forward").input_is(name).output_not_prefix(kAnyInterface).count().drop();
  }
  rules = filters.rules();
  return filters.commit(*filter);
}

Result<void> Bridge::State::install() {
  // Owned: nobody's `flush ruleset` opens the host. Persistent: if this process is killed, the rules outlive the last
  // packet of its sandboxes. Kernels before 6.9 know no persistence; then the table is an ordinary one, watched.
  auto done = install(os::kTableOwner | os::kTablePersist);
  owned = done.has_value();
  if (!done && (done.error().sys_errno() == EOPNOTSUPP || done.error().sys_errno() == EINVAL)) done = install(0);
  if (!done) return cannot("nf_tables with fib, ct and masquerade expressions", std::move(done).error());
  installed = true;
  SANDBOX_TRY(generation, os::filter_generation(*filter));
  return {};
}

Result<bool> Bridge::State::intact() {
  if (owned) return true;
  SANDBOX_TRY(const std::uint32_t now, os::filter_generation(*filter));
  if (now == generation) return true;
  SANDBOX_TRY(const std::uint32_t found, os::filter_rule_count(*filter, table));
  if (found != rules) return false;
  generation = now;
  return true;
}

Bridge::Bridge(std::unique_ptr<State> state) noexcept : state_(std::move(state)) {}

Result<std::unique_ptr<Bridge>> Bridge::setup(const BridgeConfig& config) {
  auto state = std::make_unique<State>();
  state->config = config;
  if (config.mtu < 576 || config.mtu > 65535) {
    return Error(ErrorCode::invalid_argument, "mtu must be 576 to 65535").with_operation("network.bridge");
  }
  state->ipv6 = ::access("/proc/sys/net/ipv6", F_OK) == 0;
  SANDBOX_TRY(auto route, os::NetlinkSocket::open(NETLINK_ROUTE));
  state->route.emplace(std::move(route));
  auto filter = os::NetlinkSocket::open(NETLINK_NETFILTER);
  if (!filter) return cannot("nf_tables", std::move(filter).error());
  state->filter.emplace(*std::move(filter));

  // One at a time: launchers of one host share the forwarding switch.
  SANDBOX_TRY(const NameLock turn, NameLock::take("setup", 5000));
  std::vector<std::string> inherited;
  if (auto swept = state->sweep(inherited); !swept) return cannot("nf_tables and CAP_NET_ADMIN on the host", std::move(swept).error());
  SANDBOX_TRY(const Routes routes, read_routes(*state->route));
  SANDBOX_CHECK(state->choose_range(routes));
  SANDBOX_CHECK(state->prepare_forwarding(routes, inherited));

  // From here on the destructor undoes what was done; it takes its turn by itself.
  std::unique_ptr<Bridge> bridge(new Bridge(std::move(state)));
  State& made = *bridge->state_;
  const auto finish = [&]() -> Result<void> {
    SANDBOX_CHECK(delete_group(*made.route, made.group));  // of a launcher whose table is gone but whose sandboxes are not
    SANDBOX_CHECK(made.install());
    if (!made.owned) {
      SANDBOX_TRY(auto watch, os::NetlinkSocket::open(NETLINK_NETFILTER, 1u << 6 /* NFNLGRP_NFTABLES is group 7 */));
      (void)::fcntl(watch.fd(), F_SETFL, O_NONBLOCK);
      made.watch.emplace(std::move(watch));
    }
    // Forwarding last: nothing is ever forwarded without the rules.
    for (const std::string& name : made.guarded) {
      if (auto on = write_flag(forwarding_file(name), true); !on) return cannot("IPv4 forwarding", std::move(on).error());
    }
    return {};
  };
  if (auto finished = finish(); !finished) {
    made.undo();
    made.installed = false;
    return std::move(finished).error();
  }
  return bridge;
}

/// The caller holds the turn. Reports nothing: whatever fails here fails closed and is swept by the next setup.
void Bridge::State::undo() {
  constexpr std::string_view kWhy = "cleaning up; the next setup sweeps";
  if (!installed) return;
  delete_group(*route, group).ignore(kWhy);
  if (auto chains = os::filter_chains(*filter)) {
    // Somebody who switched forwarding on for the whole host meanwhile wants it on.
    const bool host_forwards = read_flag(forwarding_file("all")).value_or(false);
    for (const std::string& name : guarded) {
      const bool shared = std::any_of(chains->begin(), chains->end(), [&](const auto& entry) {
        return entry.first != table && entry.first.starts_with(kTablePrefix) && entry.second == std::string(kGuardPrefix) + name;
      });
      if (!shared && !host_forwards) write_flag(forwarding_file(name), false).ignore("interface gone");
    }
    os::FilterTransaction transaction;
    transaction.delete_table(table);
    transaction.commit(*filter).ignore(kWhy);
  } else {
    chains.ignore(kWhy);  // the table stays, and with it the guard
  }
}

Bridge::~Bridge() {
  if (!state_->installed) return;
  auto turn = NameLock::take("setup", 5000);
  if (turn) {
    state_->undo();
  } else {
    turn.ignore("the table stays and fails closed; the next setup sweeps it");
  }
}

int Bridge::watch_fd() const noexcept { return state_->watch ? state_->watch->fd() : -1; }
Ipv4Network Bridge::range() const noexcept { return state_->range; }

Result<void> Bridge::check() {
  State& state = *state_;
  if (state.watch) {
    char ignored[4096];
    while (::recv(state.watch->fd(), ignored, sizeof ignored, MSG_DONTWAIT | MSG_TRUNC) > 0 || errno == ENOBUFS) {
    }
  }
  auto whole = state.intact();
  if (whole && *whole) return {};
  auto repaired = [&]() -> Result<void> {
    SANDBOX_CHECK(whole);
    SANDBOX_TRY(const auto tables, os::filter_tables(*state.filter));
    if (std::find(tables.begin(), tables.end(), state.table) != tables.end()) {
      os::FilterTransaction transaction;
      transaction.delete_table(state.table);
      SANDBOX_CHECK(transaction.commit(*state.filter));
    }
    return state.install();
  }();
  if (repaired) return {};
  // Without rules no sandbox may send anything.
  os::NetlinkBatch batch;
  ifinfomsg down{};
  down.ifi_change = IFF_UP;
  batch.begin(RTM_NEWLINK, NLM_F_ACK, down).put_u32(IFLA_GROUP, state.group);
  state.route->transact(batch, "network.check").ignore("reported by the error below");
  return std::move(repaired).error();
}

namespace {

/// Everything about a wire follows from its address, so that nothing has to be remembered.
int host_index(std::uint32_t address) {
  return static_cast<int>(kIndexBase | ((address >> 16 & 0x3fff) << 16) | (address & 0xffff));
}
std::array<std::uint8_t, 6> sandbox_mac(std::uint32_t address) {
  return {0x02, 0x53, static_cast<std::uint8_t>(address >> 24), static_cast<std::uint8_t>(address >> 16),
          static_cast<std::uint8_t>(address >> 8), static_cast<std::uint8_t>(address)};
}

}  // namespace

Result<void> Bridge::State::make_wire(std::uint32_t address, const std::string& name, int netns_fd) {
  os::NetlinkBatch batch;
  ifinfomsg link{};
  link.ifi_index = host_index(address);
  ifinfomsg peer{};
  peer.ifi_index = kSandboxIndex;
  batch.begin(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, link)
      .put_string(IFLA_IFNAME, name)
      .put_u32(IFLA_GROUP, group)
      .put_u32(IFLA_MTU, config.mtu)
      .put_struct(IFLA_ADDRESS, kHostMac)
      .nest(IFLA_LINKINFO)
      .put_string(IFLA_INFO_KIND, "veth")
      .nest(IFLA_INFO_DATA)
      .nest_struct(VETH_INFO_PEER, peer)
      .put_string(IFLA_IFNAME, "eth0")
      .put_u32(IFLA_MTU, config.mtu)
      .put_struct(IFLA_ADDRESS, sandbox_mac(address))
      .put_u32(IFLA_NET_NS_FD, static_cast<std::uint32_t>(netns_fd));
  return route->transact(batch, "network.attach");
}

Result<void> Bridge::State::host_end(std::uint32_t address) {
  const int index = host_index(address);
  os::NetlinkBatch batch;
  ifinfomsg link{};
  link.ifi_index = index;
  // Settings before the link comes up, so that it never has an IPv6 address.
  batch.begin(RTM_SETLINK, NLM_F_ACK, link).nest(IFLA_AF_SPEC);
  batch.nest(AF_INET).nest(IFLA_INET_CONF);
  batch.put_u32(kDevconfForwarding, 1).put_u32(kDevconfRpFilter, 1).put_u32(kDevconfAcceptRedirects, 0);
  batch.put_u32(kDevconfSendRedirects, 0).put_u32(kDevconfAcceptSourceRoute, 0);
  batch.end_nest().end_nest();
  if (ipv6) batch.nest(AF_INET6).put_u8(IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE).end_nest();
  // No ARP: the only neighbour is written down, and the host's other addresses are nobody's business.
  ifinfomsg up = link;
  up.ifi_flags = up.ifi_change = IFF_UP | IFF_NOARP;
  batch.begin(RTM_SETLINK, NLM_F_ACK, up);
  // A point-to-point address is also the route that no_reverse_path() compares with.
  ifaddrmsg local{};
  local.ifa_family = AF_INET;
  local.ifa_prefixlen = 32;
  local.ifa_index = static_cast<std::uint32_t>(index);
  batch.begin(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, local).put_be32(IFA_LOCAL, gateway).put_be32(IFA_ADDRESS, address);
  ndmsg neighbour{};
  neighbour.ndm_family = AF_INET;
  neighbour.ndm_ifindex = index;
  neighbour.ndm_state = NUD_PERMANENT;
  batch.begin(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE | NLM_F_ACK, neighbour).put_be32(NDA_DST, address).put_struct(NDA_LLADDR, sandbox_mac(address));
  return route->transact(batch, "network.attach");
}

Result<void> Bridge::State::sandbox_end(std::uint32_t address, int netns_fd) {
  std::optional<os::NetlinkSocket> inner;
  {
    SANDBOX_TRY(const InsideNamespace inside, InsideNamespace::enter(netns_fd));
    SANDBOX_TRY(auto opened, os::NetlinkSocket::open(NETLINK_ROUTE));
    inner.emplace(std::move(opened));
  }
  os::NetlinkBatch batch;
  ifinfomsg link{};
  link.ifi_index = kSandboxIndex;
  if (ipv6) {
    batch.begin(RTM_SETLINK, NLM_F_ACK, link).nest(IFLA_AF_SPEC).nest(AF_INET6).put_u8(IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
  }
  link.ifi_flags = link.ifi_change = IFF_UP;
  batch.begin(RTM_SETLINK, NLM_F_ACK, link);
  ifaddrmsg local{};
  local.ifa_family = AF_INET;
  local.ifa_prefixlen = 32;
  local.ifa_index = kSandboxIndex;
  batch.begin(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, local).put_be32(IFA_LOCAL, address).put_be32(IFA_ADDRESS, gateway);
  ndmsg neighbour{};
  neighbour.ndm_family = AF_INET;
  neighbour.ndm_ifindex = kSandboxIndex;
  neighbour.ndm_state = NUD_PERMANENT;
  batch.begin(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE | NLM_F_ACK, neighbour).put_be32(NDA_DST, gateway).put_struct(NDA_LLADDR, kHostMac);
  rtmsg way_out{};
  way_out.rtm_family = AF_INET;
  way_out.rtm_table = RT_TABLE_MAIN;
  way_out.rtm_protocol = RTPROT_BOOT;
  way_out.rtm_scope = RT_SCOPE_UNIVERSE;
  way_out.rtm_type = RTN_UNICAST;
  batch.begin(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, way_out).put_be32(RTA_GATEWAY, gateway).put_u32(RTA_OIF, kSandboxIndex);
  return inner->transact(batch, "network.attach");
}

/// The end that came up first learns from a work queue that it has a carrier, and drops everything until then: the first
/// SYN would be lost and cost a second. Asking for the link makes the kernel catch up (since 6.8; earlier it is a matter
/// of the work queue, usually under a millisecond).
Result<void> Bridge::State::settle(std::uint32_t address) {
  os::NetlinkBatch batch;
  ifinfomsg link{};
  link.ifi_index = host_index(address);
  batch.begin(RTM_GETLINK, 0, link);
  return route->query(batch, "network.attach", [](const os::NetlinkMessage&) -> Result<void> { return {}; });
}

Result<BridgeAttachment> Bridge::attach(int netns_fd) {
  State& state = *state_;
  SANDBOX_TRY(const bool whole, state.intact());
  if (!whole) {
    if (auto repaired = check(); !repaired) return cannot("its packet filter, which somebody removed", std::move(repaired).error());
  }
  // The host ends that exist are the record of what is taken: one that is still being torn down is taken too.
  const std::uint32_t size = std::uint32_t{1} << (32 - state.range.prefix_length);
  const std::uint32_t usable = size - 3;  // neither network, gateway nor broadcast
  for (std::uint32_t tried = 0; tried < std::min(usable, kMaxAttempts); ++tried) {
    const std::uint32_t address = state.range.address + state.next;
    state.next = state.next + 1 >= size - 1 ? 2 : state.next + 1;
    BridgeAttachment made;
    made.address = address;
    made.gateway = state.gateway;
    std::snprintf(made.host_interface.data(), made.host_interface.size(), "%s%04x", state.interface_prefix.c_str(), address & 0xffffu);
    if (auto wire = state.make_wire(address, made.host_interface.data(), netns_fd); !wire) {
      // Taken, or the namespace has an eth0 already: only the first is worth another try.
      if (wire.error().sys_errno() != EEXIST || ::if_nametoindex(made.host_interface.data()) == 0) return std::move(wire).error();
      wire.ignore("taken");
      continue;
    }
    auto done = state.host_end(address);
    if (done) done = state.sandbox_end(address, netns_fd);
    if (done) done = state.settle(address);
    if (done) return made;
    os::NetlinkBatch batch;
    batch.begin(RTM_DELLINK, NLM_F_ACK, ifinfomsg{}).put_string(IFLA_IFNAME, made.host_interface.data());
    state.route->transact(batch, "network.detach").ignore("the failure before it is the one to report");
    return std::move(done).error();
  }
  return Error(ErrorCode::resource_exhausted, "no free address in " + text_of(state.range)).with_operation("network.attach");
}

}  // namespace sandbox::launcher
