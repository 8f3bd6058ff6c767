#include "os/net_filter.hpp"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>

namespace sandbox::os {

namespace {

constexpr std::uint16_t type_of(std::uint16_t message) {
  return static_cast<std::uint16_t>((NFNL_SUBSYS_NFTABLES << 8) | message);
}
nfgenmsg family(std::uint8_t number) { return {number, NFNETLINK_V0, 0}; }
/// The two messages around a transaction name the subsystem in a field of their own.
nfgenmsg batch_marker() { return {AF_UNSPEC, NFNETLINK_V0, htons(NFNL_SUBSYS_NFTABLES)}; }

}  // namespace

FilterTransaction::FilterTransaction() { batch_.begin(NFNL_MSG_BATCH_BEGIN, 0, batch_marker()); }

FilterTransaction& FilterTransaction::message(std::uint16_t type, std::uint16_t flags) {
  batch_.begin(type_of(type), static_cast<std::uint16_t>(flags | NLM_F_ACK), family(kFamilyInet));
  return *this;
}

FilterTransaction& FilterTransaction::add_table(std::string_view table, std::uint32_t flags) {
  message(NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL);
  batch_.put_string(NFTA_TABLE_NAME, table);
  if (flags) batch_.put_be32(NFTA_TABLE_FLAGS, flags);
  return in_table(table);
}

FilterTransaction& FilterTransaction::delete_table(std::string_view table) {
  message(NFT_MSG_DELTABLE, 0);
  batch_.put_string(NFTA_TABLE_NAME, table);
  return *this;
}

FilterTransaction& FilterTransaction::in_table(std::string_view table) {
  table_ = table;
  return *this;
}

FilterTransaction& FilterTransaction::add_base_chain(std::string_view chain, std::string_view type, std::uint32_t hook,
                                                     std::int32_t priority) {
  add_chain(chain);
  batch_.nest(NFTA_CHAIN_HOOK)
      .put_be32(NFTA_HOOK_HOOKNUM, hook)
      .put_be32(NFTA_HOOK_PRIORITY, static_cast<std::uint32_t>(priority))
      .end_nest();
  batch_.put_be32(NFTA_CHAIN_POLICY, kVerdictAccept).put_string(NFTA_CHAIN_TYPE, type);
  return *this;
}

FilterTransaction& FilterTransaction::add_chain(std::string_view chain) {
  message(NFT_MSG_NEWCHAIN, NLM_F_CREATE | NLM_F_EXCL);
  batch_.put_string(NFTA_CHAIN_TABLE, table_).put_string(NFTA_CHAIN_NAME, chain);
  return *this;
}

FilterTransaction& FilterTransaction::rule(std::string_view chain) {
  message(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND);
  batch_.put_string(NFTA_RULE_TABLE, table_).put_string(NFTA_RULE_CHAIN, chain).nest(NFTA_RULE_EXPRESSIONS);
  ++rules_;
  return *this;
}

void FilterTransaction::expression(std::string_view name) {
  batch_.nest(NFTA_LIST_ELEM).put_string(NFTA_EXPR_NAME, name).nest(NFTA_EXPR_DATA);
}
void FilterTransaction::end_expression() { batch_.end_nest().end_nest(); }

FilterTransaction& FilterTransaction::meta(std::uint32_t key) {
  expression("meta");
  batch_.put_be32(NFTA_META_DREG, NFT_REG_1).put_be32(NFTA_META_KEY, key);
  end_expression();
  return *this;
}

FilterTransaction& FilterTransaction::compare(std::uint32_t comparison, ByteView value) {
  expression("cmp");
  batch_.put_be32(NFTA_CMP_SREG, NFT_REG_1).put_be32(NFTA_CMP_OP, comparison);
  batch_.nest(NFTA_CMP_DATA).put(NFTA_DATA_VALUE, value).end_nest();
  end_expression();
  return *this;
}

FilterTransaction& FilterTransaction::interface(std::uint32_t key, std::string_view prefix, std::uint32_t comparison) {
  // The register holds the name padded with NULs: comparing only its first bytes is nft's "prefix*".
  return meta(key).compare(comparison, as_bytes(prefix));
}

FilterTransaction& FilterTransaction::input_is(std::string_view name) {
  char padded[16] = {};
  name.copy(padded, sizeof padded - 1);
  return meta(NFT_META_IIFNAME).compare(NFT_CMP_EQ, std::as_bytes(std::span(padded)));
}

FilterTransaction& FilterTransaction::not_ipv4() {
  const std::uint8_t ipv4 = kFamilyIpv4;
  return meta(NFT_META_NFPROTO).compare(NFT_CMP_NEQ, std::as_bytes(std::span(&ipv4, 1)));
}

FilterTransaction& FilterTransaction::protocol(std::uint8_t l4) {
  return meta(NFT_META_L4PROTO).compare(NFT_CMP_EQ, std::as_bytes(std::span(&l4, 1)));
}

FilterTransaction& FilterTransaction::address_in(std::uint32_t offset, std::uint32_t address, std::uint8_t prefix_length) {
  const std::uint32_t mask = prefix_length == 0 ? 0 : ~std::uint32_t{0} << (32 - prefix_length);
  const std::uint32_t wire_mask = htonl(mask), wire_address = htonl(address & mask), nothing = 0;
  expression("payload");
  batch_.put_be32(NFTA_PAYLOAD_DREG, NFT_REG_1)
      .put_be32(NFTA_PAYLOAD_BASE, NFT_PAYLOAD_NETWORK_HEADER)
      .put_be32(NFTA_PAYLOAD_OFFSET, offset)
      .put_be32(NFTA_PAYLOAD_LEN, sizeof address);
  end_expression();
  expression("bitwise");
  batch_.put_be32(NFTA_BITWISE_SREG, NFT_REG_1)
      .put_be32(NFTA_BITWISE_DREG, NFT_REG_1)
      .put_be32(NFTA_BITWISE_LEN, sizeof address);
  batch_.nest(NFTA_BITWISE_MASK).put_struct(NFTA_DATA_VALUE, wire_mask).end_nest();
  batch_.nest(NFTA_BITWISE_XOR).put_struct(NFTA_DATA_VALUE, nothing).end_nest();
  end_expression();
  return compare(NFT_CMP_EQ, std::as_bytes(std::span(&wire_address, 1)));
}

FilterTransaction& FilterTransaction::fib(std::uint32_t result, std::uint32_t flags) {
  expression("fib");
  batch_.put_be32(NFTA_FIB_DREG, NFT_REG_1).put_be32(NFTA_FIB_RESULT, result).put_be32(NFTA_FIB_FLAGS, flags);
  end_expression();
  return *this;
}

FilterTransaction& FilterTransaction::no_reverse_path() {
  const std::uint8_t missing = 0;
  return fib(NFT_FIB_RESULT_OIF, NFTA_FIB_F_SADDR | NFTA_FIB_F_IIF | NFTA_FIB_F_PRESENT)
      .compare(NFT_CMP_EQ, std::as_bytes(std::span(&missing, 1)));
}

FilterTransaction& FilterTransaction::destination_not_unicast() {
  const std::uint32_t unicast = RTN_UNICAST;
  return fib(NFT_FIB_RESULT_ADDRTYPE, NFTA_FIB_F_DADDR).compare(NFT_CMP_NEQ, std::as_bytes(std::span(&unicast, 1)));
}

FilterTransaction& FilterTransaction::connection_state(std::uint32_t mask) {
  const std::uint32_t nothing = 0;
  expression("ct");
  batch_.put_be32(NFTA_CT_DREG, NFT_REG_1).put_be32(NFTA_CT_KEY, NFT_CT_STATE);
  end_expression();
  expression("bitwise");
  batch_.put_be32(NFTA_BITWISE_SREG, NFT_REG_1)
      .put_be32(NFTA_BITWISE_DREG, NFT_REG_1)
      .put_be32(NFTA_BITWISE_LEN, sizeof mask);
  batch_.nest(NFTA_BITWISE_MASK).put_struct(NFTA_DATA_VALUE, mask).end_nest();
  batch_.nest(NFTA_BITWISE_XOR).put_struct(NFTA_DATA_VALUE, nothing).end_nest();
  end_expression();
  return compare(NFT_CMP_NEQ, std::as_bytes(std::span(&nothing, 1)));
}

FilterTransaction& FilterTransaction::count() {
  expression("counter");
  batch_.put_be64(NFTA_COUNTER_BYTES, 0).put_be64(NFTA_COUNTER_PACKETS, 0);
  end_expression();
  return *this;
}

FilterTransaction& FilterTransaction::verdict(std::uint32_t code, std::string_view chain) {
  expression("immediate");
  batch_.put_be32(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT).nest(NFTA_IMMEDIATE_DATA).nest(NFTA_DATA_VERDICT);
  batch_.put_be32(NFTA_VERDICT_CODE, code);
  if (!chain.empty()) batch_.put_string(NFTA_VERDICT_CHAIN, chain);
  batch_.end_nest().end_nest();
  end_expression();
  return *this;
}

FilterTransaction& FilterTransaction::masquerade() {
  expression("masq");
  end_expression();
  return *this;
}

Result<void> FilterTransaction::commit(NetlinkSocket& netfilter) {
  batch_.begin(NFNL_MSG_BATCH_END, 0, batch_marker());
  return netfilter.transact(batch_, "filter.commit");
}

namespace {

/// Dumps, and again when the tables changed meanwhile. `restart` forgets what was seen.
template <class Restart, class Visit>
Result<void> dump(NetlinkSocket& netfilter, std::uint16_t type, std::string_view table, const Restart& restart, const Visit& visit) {
  constexpr int kAttempts = 16;
  for (int attempt = 1;; ++attempt) {
    restart();
    NetlinkBatch batch;
    batch.begin(type_of(type), NLM_F_DUMP, family(kFamilyInet));
    if (!table.empty()) batch.put_string(NFTA_RULE_TABLE, table);
    auto done = netfilter.query(batch, "filter.read", visit);
    if (done || done.error().retry() != Retry::now || attempt == kAttempts) return done;
  }
}

std::string text_of(const NetlinkMessage& message, std::uint16_t attribute) {
  const auto found = NetlinkAttributes::find(message.attributes<nfgenmsg>(), attribute);
  return found ? std::string(found->text()) : std::string();
}

}  // namespace

Result<std::vector<std::pair<std::string, std::string>>> filter_chains(NetlinkSocket& netfilter) {
  std::vector<std::pair<std::string, std::string>> chains;
  SANDBOX_CHECK(dump(netfilter, NFT_MSG_GETCHAIN, {}, [&] { chains.clear(); },
                     [&](const NetlinkMessage& message) -> Result<void> {
                       chains.emplace_back(text_of(message, NFTA_CHAIN_TABLE), text_of(message, NFTA_CHAIN_NAME));
                       return {};
                     }));
  return chains;
}

Result<std::vector<std::string>> filter_tables(NetlinkSocket& netfilter) {
  std::vector<std::string> tables;
  SANDBOX_CHECK(dump(netfilter, NFT_MSG_GETTABLE, {}, [&] { tables.clear(); },
                     [&](const NetlinkMessage& message) -> Result<void> {
                       tables.push_back(text_of(message, NFTA_TABLE_NAME));
                       return {};
                     }));
  return tables;
}

Result<std::uint32_t> filter_rule_count(NetlinkSocket& netfilter, std::string_view table) {
  NetlinkBatch batch;
  batch.begin(type_of(NFT_MSG_GETTABLE), 0, family(kFamilyInet)).put_string(NFTA_TABLE_NAME, table);
  bool dormant = false;
  auto found = netfilter.query(batch, "filter.read", [&](const NetlinkMessage& message) -> Result<void> {
    const auto flags = NetlinkAttributes::find(message.attributes<nfgenmsg>(), NFTA_TABLE_FLAGS);
    dormant = flags && (flags->be32().value_or(0) & NFT_TABLE_F_DORMANT);
    return {};
  });
  if (!found && found.error().sys_errno() == ENOENT) return 0u;
  SANDBOX_CHECK(found);
  std::uint32_t count = 0;
  if (dormant) return count;
  SANDBOX_CHECK(dump(netfilter, NFT_MSG_GETRULE, table, [&] { count = 0; },
                     [&](const NetlinkMessage& message) -> Result<void> {
                       count += text_of(message, NFTA_RULE_TABLE) == table;
                       return {};
                     }));
  return count;
}

Result<std::uint32_t> filter_generation(NetlinkSocket& netfilter) {
  NetlinkBatch batch;
  batch.begin(type_of(NFT_MSG_GETGEN), 0, family(AF_UNSPEC));
  std::uint32_t generation = 0;
  SANDBOX_CHECK(netfilter.query(batch, "filter.read", [&](const NetlinkMessage& message) -> Result<void> {
    const auto id = NetlinkAttributes::find(message.attributes<nfgenmsg>(), NFTA_GEN_ID);
    generation = id ? id->be32().value_or(0) : 0;
    return {};
  }));
  return generation;
}

}  // namespace sandbox::os
