#pragma once

#include <linux/netfilter/nf_tables.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "os/netlink.hpp"

/// nf_tables without the nft program: one transaction of tables, chains and rules, spoken over netlink. Only the few
/// expressions that Network::bridge needs, each named after what nft(8) prints for it. Guest-safe.
namespace sandbox::os {

// From <linux/netfilter.h>, which cannot be included beside musl's <netinet/in.h>.
inline constexpr std::uint32_t kVerdictDrop = 0, kVerdictAccept = 1;
inline constexpr std::uint8_t kFamilyInet = 1, kFamilyIpv4 = 2;
inline constexpr std::uint32_t kHookPrerouting = 0, kHookInput = 1, kHookForward = 2, kHookOutput = 3, kHookPostrouting = 4;

/// The kernel has these since 5.12 and 6.9; Debian 12's headers lack the second.
inline constexpr std::uint32_t kTableOwner = 2;    ///< no other process may change the table, `flush ruleset` skips it
inline constexpr std::uint32_t kTablePersist = 4;  ///< the table outlives its owner

/// A transaction for the `inet` family. The kernel carries out all of it or nothing. After commit() it is used up.
/// Rules are written front to back: `rule("forward").input_prefix("sbx").drop()`. Calls outside that order are bugs.
class FilterTransaction {
 public:
  FilterTransaction();

  FilterTransaction& add_table(std::string_view table, std::uint32_t flags);
  FilterTransaction& delete_table(std::string_view table);
  /// Later calls work on this table.
  FilterTransaction& in_table(std::string_view table);
  /// A chain that the kernel calls itself. `type` is "filter" or "nat"; policy accept.
  FilterTransaction& add_base_chain(std::string_view chain, std::string_view type, std::uint32_t hook, std::int32_t priority);
  FilterTransaction& add_chain(std::string_view chain);

  /// Begins a rule at the end of `chain`; what follows are its expressions.
  FilterTransaction& rule(std::string_view chain);
  FilterTransaction& input_prefix(std::string_view prefix) { return interface(NFT_META_IIFNAME, prefix, NFT_CMP_EQ); }
  FilterTransaction& output_prefix(std::string_view prefix) { return interface(NFT_META_OIFNAME, prefix, NFT_CMP_EQ); }
  FilterTransaction& output_not_prefix(std::string_view prefix) { return interface(NFT_META_OIFNAME, prefix, NFT_CMP_NEQ); }
  FilterTransaction& input_is(std::string_view name);
  FilterTransaction& not_ipv4();
  FilterTransaction& protocol(std::uint8_t l4);
  /// IPv4 address within prefix; host byte order.
  FilterTransaction& source(std::uint32_t address, std::uint8_t prefix_length) { return address_in(12, address, prefix_length); }
  FilterTransaction& destination(std::uint32_t address, std::uint8_t prefix_length) { return address_in(16, address, prefix_length); }
  FilterTransaction& no_reverse_path();          ///< the route back to the source is not the interface it came in on
  FilterTransaction& destination_not_unicast();  ///< local to this host, broadcast, multicast, blackholed
  FilterTransaction& connection_state(std::uint32_t mask);
  FilterTransaction& count();
  FilterTransaction& accept() { return verdict(kVerdictAccept, {}); }
  FilterTransaction& drop() { return verdict(kVerdictDrop, {}); }
  FilterTransaction& jump(std::string_view chain) { return verdict(static_cast<std::uint32_t>(NFT_JUMP), chain); }
  FilterTransaction& masquerade();

  static constexpr std::uint32_t kEstablished = 2, kRelated = 4;  ///< for connection_state

  /// Rules written so far.
  std::uint32_t rules() const noexcept { return rules_; }
  /// Errors: those of the kernel, "filter.commit".
  Result<void> commit(NetlinkSocket& netfilter);

 private:
  FilterTransaction& message(std::uint16_t type, std::uint16_t flags);
  FilterTransaction& interface(std::uint32_t key, std::string_view prefix, std::uint32_t comparison);
  FilterTransaction& address_in(std::uint32_t offset, std::uint32_t address, std::uint8_t prefix_length);
  FilterTransaction& meta(std::uint32_t key);
  FilterTransaction& compare(std::uint32_t comparison, ByteView value);
  FilterTransaction& fib(std::uint32_t result, std::uint32_t flags);
  FilterTransaction& verdict(std::uint32_t code, std::string_view chain);
  void expression(std::string_view name);
  void end_expression();
  NetlinkBatch batch_;
  std::string table_;
  std::uint32_t rules_ = 0;
};

/// The `inet` chains (table, chain) of this network namespace, in the kernel's order.
Result<std::vector<std::pair<std::string, std::string>>> filter_chains(NetlinkSocket& netfilter);
/// The `inet` tables of this network namespace.
Result<std::vector<std::string>> filter_tables(NetlinkSocket& netfilter);
/// How many rules `table` holds in force; 0 when it does not exist or is dormant.
Result<std::uint32_t> filter_rule_count(NetlinkSocket& netfilter, std::string_view table);
/// A number that changes with every change of any table.
Result<std::uint32_t> filter_generation(NetlinkSocket& netfilter);

}  // namespace sandbox::os
