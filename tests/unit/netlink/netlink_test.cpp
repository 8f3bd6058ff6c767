#include "os/netlink.hpp"

#include <errno.h>
#include <gtest/gtest.h>
#include <linux/rtnetlink.h>

#include <random>

namespace sandbox::os {
namespace {

Bytes bytes_of(std::initializer_list<int> values) {
  Bytes bytes;
  for (const int value : values) bytes.push_back(static_cast<std::byte>(value));
  return bytes;
}
Bytes copy(ByteView view) { return Bytes(view.begin(), view.end()); }

TEST(NetlinkBatch, WritesLengthsAndPaddingAsTheKernelReadsThem) {
  NetlinkBatch batch;
  batch.begin(0x1234, 0x0400, std::uint32_t{0xaabbccdd}).put_u8(7, 0x5a).put_string(8, "eth0");
  EXPECT_EQ(copy(batch.bytes()), bytes_of({0x28, 0, 0, 0, 0x34, 0x12, 0x01, 0x04, 0, 0, 0, 0, 0, 0, 0, 0,  // 40 bytes; request
                                           0xdd, 0xcc, 0xbb, 0xaa,                                          // fixed header
                                           5, 0, 7, 0, 0x5a, 0, 0, 0,                                       // 1 byte and padding
                                           9, 0, 8, 0, 'e', 't', 'h', '0', 0, 0, 0, 0}));
}

TEST(NetlinkBatch, NestsCoverWhatTheyHold) {
  NetlinkBatch batch;
  batch.begin(1, 0, std::uint32_t{0}).nest(1).nest_struct(2, std::uint32_t{5}).put_be32(3, 0x01020304).end_nest().end_nest().put_u8(4, 9);
  EXPECT_EQ(copy(batch.bytes().subspan(20)), bytes_of({20, 0, 1, 0x80, 16, 0, 2, 0x80, 5, 0, 0, 0, 8, 0, 3, 0, 1, 2, 3, 4,
                                                       5, 0, 4, 0, 9, 0, 0, 0}));
}

TEST(NetlinkBatch, BeginningAMessageClosesTheNestsOfTheOneBefore) {
  NetlinkBatch batch;
  batch.begin(1, 0, std::uint32_t{0}).nest(1).nest(2).put_u32(3, 7);
  batch.begin(2, 0, std::uint32_t{0});
  NetlinkMessages messages(batch.bytes());
  const auto first = messages.next(), second = messages.next();
  ASSERT_TRUE(first && second);
  EXPECT_EQ(second->type, 2);
  const auto outer = NetlinkAttributes::find(first->attributes<std::uint32_t>(), 1);
  ASSERT_TRUE(outer);
  const auto inner = NetlinkAttributes::find(outer->value, 2);
  ASSERT_TRUE(inner);
  EXPECT_EQ(NetlinkAttributes::find(inner->value, 3)->u32(), 7u);
  EXPECT_FALSE(messages.next());
  EXPECT_FALSE(messages.malformed());
}

TEST(NetlinkBatch, AnAttributeTooLongForItsLengthFieldIsNeverSent) {
  auto socket = NetlinkSocket::open(NETLINK_ROUTE).value();
  NetlinkBatch batch;
  batch.begin(RTM_GETLINK, NLM_F_ACK, ifinfomsg{}).put(IFLA_IFNAME, Bytes(70000));
  auto sent = socket.transact(batch, "test");
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code(), ErrorCode::internal);

  batch.clear();
  batch.begin(RTM_GETLINK, NLM_F_ACK, ifinfomsg{}).nest(1).put(2, Bytes(40000)).put(2, Bytes(40000)).end_nest();
  sent = socket.transact(batch, "test");
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code(), ErrorCode::internal);
}

TEST(NetlinkAttributes, EndsAtALengthThatDoesNotFit) {
  for (const Bytes& bad : {bytes_of({8, 0, 1}), bytes_of({3, 0, 1, 0}), bytes_of({0, 0, 1, 0, 0, 0, 0, 0}), bytes_of({9, 0, 1, 0, 1, 2, 3, 4})}) {
    NetlinkAttributes attributes(bad);
    EXPECT_FALSE(attributes.next());
    EXPECT_TRUE(attributes.malformed());
    EXPECT_FALSE(attributes.next());
  }
}

TEST(NetlinkAttributes, ShortNumbersAndUnterminatedTextAreHarmless) {
  const Bytes data = bytes_of({6, 0, 1, 0, 1, 2, 0, 0, 7, 0, 2, 0, 'a', 'b', 'c'});  // the last without its padding
  EXPECT_FALSE(NetlinkAttributes::find(data, 1)->u32());
  EXPECT_FALSE(NetlinkAttributes::find(data, 1)->be32());
  EXPECT_EQ(NetlinkAttributes::find(data, 2)->text(), "abc");
  EXPECT_FALSE(NetlinkAttributes::find(data, 3));
}

TEST(NetlinkMessages, EndsAtALengthThatDoesNotFit) {
  NetlinkBatch batch;
  batch.begin(1, 0, std::uint64_t{0});
  const Bytes whole = copy(batch.bytes());
  for (std::size_t size = 1; size < whole.size(); ++size) {
    NetlinkMessages messages(ByteView(whole).first(size));
    EXPECT_FALSE(messages.next()) << size;
    EXPECT_TRUE(messages.malformed()) << size;
  }
  NetlinkMessages messages(whole);
  const auto message = messages.next();
  ASSERT_TRUE(message);
  EXPECT_FALSE(message->header<ifinfomsg>()) << "the payload has 8 bytes, the header 16";
  EXPECT_TRUE(message->attributes<ifinfomsg>().empty());
}

NetlinkMessage message_of(std::uint16_t type, std::uint16_t flags, const Bytes& payload) { return {type, flags, 1, payload}; }

TEST(NetlinkAcknowledgement, ReadsTheErrorAndTheKernelsText) {
  Bytes payload = bytes_of({0xff, 0xff, 0xff, 0xff});                                              // -1
  const Bytes request = bytes_of({24, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8});
  payload.insert(payload.end(), request.begin(), request.end());
  const Bytes text = bytes_of({9, 0, NLMSGERR_ATTR_MSG, 0, 'n', 'o', 'n', 'o', 0, 0, 0, 0});
  payload.insert(payload.end(), text.begin(), text.end());
  const auto whole = acknowledgement(message_of(NLMSG_ERROR, NLM_F_ACK_TLVS, payload));
  ASSERT_TRUE(whole);
  EXPECT_EQ(whole->sys_errno, EPERM);
  EXPECT_EQ(whole->text, "nono");

  payload.erase(payload.begin() + 20, payload.begin() + 28);  // what NETLINK_CAP_ACK cuts off
  const auto capped = acknowledgement(message_of(NLMSG_ERROR, NLM_F_ACK_TLVS | NLM_F_CAPPED, payload));
  ASSERT_TRUE(capped);
  EXPECT_EQ(capped->text, "nono");
}

TEST(NetlinkAcknowledgement, RefusesWhatIsNone) {
  EXPECT_FALSE(acknowledgement(message_of(RTM_NEWLINK, 0, Bytes(32))));
  EXPECT_FALSE(acknowledgement(message_of(NLMSG_ERROR, 0, Bytes(19))));
  EXPECT_FALSE(acknowledgement(message_of(NLMSG_ERROR, 0, bytes_of({1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}))))
      << "the kernel negates errno";
  EXPECT_EQ(acknowledgement(message_of(NLMSG_DONE, 0, {}))->sys_errno, 0);
  EXPECT_EQ(acknowledgement(message_of(NLMSG_DONE, 0, bytes_of({0xfe, 0xff, 0xff, 0xff})))->sys_errno, ENOENT);
}

TEST(NetlinkReaders, AnyBytesEndWithoutReadingBeyondThem) {
  std::mt19937 random(20261121);
  for (int round = 0; round < 20000; ++round) {
    // In a block of its own, so that AddressSanitizer sees one byte too far.
    Bytes data(random() % 96);
    for (auto& byte : data) byte = static_cast<std::byte>(random() % 4 ? random() % 24 : random());
    std::size_t seen = 0;
    NetlinkMessages messages(data);
    while (const auto message = messages.next()) {
      ASSERT_LT(++seen, 100u);
      (void)acknowledgement(*message);
      NetlinkAttributes attributes(message->attributes<ifinfomsg>());
      while (const auto attribute = attributes.next()) {
        ASSERT_LT(++seen, 100u);
        (void)attribute->u64();
        (void)attribute->text().size();
      }
    }
  }
}

// These ask the real kernel, about this namespace, and change nothing.

TEST(NetlinkSocket, DumpsTheLinksOfThisNamespace) {
  auto socket = NetlinkSocket::open(NETLINK_ROUTE).value();
  NetlinkBatch batch;
  batch.begin(RTM_GETLINK, NLM_F_DUMP, ifinfomsg{});
  std::vector<std::string> names;
  socket.query(batch, "test", [&](const NetlinkMessage& message) -> Result<void> {
    names.emplace_back(NetlinkAttributes::find(message.attributes<ifinfomsg>(), IFLA_IFNAME)->text());
    return {};
  }).value();
  EXPECT_NE(std::find(names.begin(), names.end(), "lo"), names.end());
}

TEST(NetlinkSocket, TheFirstFailureOfABatchNamesItsMessage) {
  auto socket = NetlinkSocket::open(NETLINK_ROUTE).value();
  NetlinkBatch batch;
  ifinfomsg nowhere{};
  nowhere.ifi_index = 0x7ffffff0;
  batch.begin(RTM_GETLINK, NLM_F_ACK, nowhere);
  ifinfomsg loopback{};
  loopback.ifi_index = 1;
  batch.begin(RTM_GETLINK, NLM_F_ACK, loopback);
  auto done = socket.transact(batch, "test.step");
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().sys_errno(), ENODEV);
  EXPECT_EQ(done.error().operation(), "test.step");
  EXPECT_EQ(done.error().details().front(), (std::pair<std::string, std::string>("message", "0")));
  EXPECT_EQ(batch.count(), 0u) << "consumed";

  // The socket is in step for what comes next.
  batch.begin(RTM_GETLINK, 0, loopback);
  int answers = 0;
  socket.query(batch, "test", [&](const NetlinkMessage& message) -> Result<void> {
    answers += message.header<ifinfomsg>()->ifi_index == 1;
    return {};
  }).value();
  EXPECT_EQ(answers, 1);
}

TEST(NetlinkSocket, AVisitorsErrorEndsTheQueryAndTheSocketStaysUsable) {
  auto socket = NetlinkSocket::open(NETLINK_ROUTE).value();
  NetlinkBatch batch;
  ifinfomsg loopback{};
  loopback.ifi_index = 1;
  batch.begin(RTM_GETLINK, 0, loopback);
  auto stopped = socket.query(batch, "test", [](const NetlinkMessage&) -> Result<void> { return Error(ErrorCode::cancelled, "enough"); });
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code(), ErrorCode::cancelled);
  batch.begin(RTM_GETLINK, 0, loopback);
  EXPECT_TRUE(socket.query(batch, "test", [](const NetlinkMessage&) -> Result<void> { return {}; }));
}

}  // namespace
}  // namespace sandbox::os
