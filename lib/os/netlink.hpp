#pragma once

#include <linux/netlink.h>

#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

#include <sandbox/bytes.hpp>
#include <sandbox/result.hpp>

#include "core/unique_fd.hpp"

/// Netlink by hand: a builder for one or more messages, bounds-checked readers for what comes back, and a socket that
/// sends a batch and waits for its acknowledgements. Builds for the guest. Formats: netlink(7), rtnetlink(7).
namespace sandbox::os {

/// Messages that go to the kernel in one send. Values are host byte order unless the method says big-endian.
/// Not thread-safe. Everything appended goes to the message begun last.
class NetlinkBatch {
 public:
  /// Starts a message; NLM_F_REQUEST is added. `header` is the fixed part that follows nlmsghdr (ifinfomsg, …).
  template <class Header>
    requires std::is_trivially_copyable_v<Header>
  NetlinkBatch& begin(std::uint16_t type, std::uint16_t flags, const Header& header) {
    begin(type, flags, ByteView(reinterpret_cast<const std::byte*>(&header), sizeof header));
    return *this;
  }
  NetlinkBatch& put(std::uint16_t attribute, ByteView value);
  NetlinkBatch& put_string(std::uint16_t attribute, std::string_view value);  ///< with a NUL, as the kernel wants it
  NetlinkBatch& put_u8(std::uint16_t attribute, std::uint8_t value);
  NetlinkBatch& put_u32(std::uint16_t attribute, std::uint32_t value);
  NetlinkBatch& put_be32(std::uint16_t attribute, std::uint32_t value);
  NetlinkBatch& put_be64(std::uint16_t attribute, std::uint64_t value);
  template <class Struct>
    requires std::is_trivially_copyable_v<Struct>
  NetlinkBatch& put_struct(std::uint16_t attribute, const Struct& value) {
    return put(attribute, ByteView(reinterpret_cast<const std::byte*>(&value), sizeof value));
  }
  /// Opens an attribute that holds attributes; close with end_nest. Nests close in reverse order.
  NetlinkBatch& nest(std::uint16_t attribute);
  /// Opens an attribute that holds a fixed struct followed by attributes (VETH_INFO_PEER).
  template <class Struct>
  NetlinkBatch& nest_struct(std::uint16_t attribute, const Struct& value) {
    nest(attribute);
    append(&value, sizeof value);
    return *this;
  }
  NetlinkBatch& end_nest();

  void clear() noexcept;
  bool empty() const noexcept { return messages_.empty(); }
  std::size_t count() const noexcept { return messages_.size(); }
  /// The messages so far, lengths and padding final, sequence numbers 0.
  ByteView bytes();

 private:
  friend class NetlinkSocket;
  void begin(std::uint16_t type, std::uint16_t flags, ByteView header);
  void append(const void* data, std::size_t size);
  void pad();
  void finish();
  std::vector<std::byte> buffer_;
  std::vector<std::size_t> messages_;  ///< offset of each nlmsghdr
  std::vector<std::size_t> nests_;     ///< offsets of open nlattr
  bool too_long_ = false;              ///< an attribute exceeded 65535 bytes; the batch must not be sent
};

/// One attribute seen in a reply. Lives as long as the buffer it came from.
struct NetlinkAttribute {
  std::uint16_t type = 0;  ///< without the NESTED and NET_BYTEORDER bits
  ByteView value;

  std::optional<std::uint32_t> u32() const noexcept { return number<std::uint32_t>(); }
  std::optional<std::uint64_t> u64() const noexcept { return number<std::uint64_t>(); }
  std::optional<std::uint32_t> be32() const noexcept;
  /// Up to the first NUL, or all of it.
  std::string_view text() const noexcept;

 private:
  template <class Number>
  std::optional<Number> number() const noexcept {
    if (value.size() < sizeof(Number)) return std::nullopt;
    Number result;
    std::memcpy(&result, value.data(), sizeof result);
    return result;
  }
};

/// Walks attributes. Ends early, with malformed() true, at an attribute whose length does not fit.
class NetlinkAttributes {
 public:
  explicit NetlinkAttributes(ByteView data) noexcept : rest_(data) {}
  std::optional<NetlinkAttribute> next() noexcept;
  bool malformed() const noexcept { return malformed_; }
  /// The first attribute of `type`, from here on.
  static std::optional<NetlinkAttribute> find(ByteView data, std::uint16_t type) noexcept;

 private:
  ByteView rest_;
  bool malformed_ = false;
};

/// One message seen in a reply. Lives as long as the buffer it came from.
struct NetlinkMessage {
  std::uint16_t type = 0;
  std::uint16_t flags = 0;
  std::uint32_t sequence = 0;
  ByteView payload;

  /// The fixed header, or nothing when the payload is too short for it.
  template <class Header>
    requires std::is_trivially_copyable_v<Header>
  std::optional<Header> header() const noexcept {
    if (payload.size() < sizeof(Header)) return std::nullopt;
    Header result;
    std::memcpy(&result, payload.data(), sizeof result);
    return result;
  }
  /// The attributes after a Header.
  template <class Header>
  ByteView attributes() const noexcept {
    constexpr std::size_t size = NLMSG_ALIGN(sizeof(Header));
    return payload.size() < size ? ByteView() : payload.subspan(size);
  }
};

/// Walks the messages of one datagram. Ends early, with malformed() true, at a message whose length does not fit.
class NetlinkMessages {
 public:
  explicit NetlinkMessages(ByteView datagram) noexcept : rest_(datagram) {}
  std::optional<NetlinkMessage> next() noexcept;
  bool malformed() const noexcept { return malformed_; }

 private:
  ByteView rest_;
  bool malformed_ = false;
};

/// What an NLMSG_ERROR or NLMSG_DONE says: 0 or an errno, and the kernel's explanation if it gave one.
struct NetlinkAcknowledgement {
  int sys_errno = 0;
  std::string_view text;
};
/// Nothing when the message is no acknowledgement or is too short to be one.
std::optional<NetlinkAcknowledgement> acknowledgement(const NetlinkMessage& message) noexcept;

/// A netlink socket of the network namespace it was opened in. Calls block, but the kernel answers within sendmsg, so in
/// practice they return at once; a silent kernel ends in deadline_exceeded after five seconds. Not thread-safe.
class NetlinkSocket {
 public:
  /// `protocol` is NETLINK_ROUTE, NETLINK_NETFILTER or NETLINK_SOCK_DIAG. `groups` is for sockets that listen.
  static Result<NetlinkSocket> open(int protocol, std::uint32_t groups = 0);

  /// Sends all messages and waits until each that asks for NLM_F_ACK was answered. The first failure becomes the
  /// error, with the kernel's text and detail "message" = its index. `operation` names it ("network.link").
  /// The batch is consumed. rtnetlink carries out what precedes and follows a failed message; nf_tables does all or nothing.
  Result<void> transact(NetlinkBatch& batch, std::string_view operation);

  using Visitor = std::function<Result<void>(const NetlinkMessage&)>;
  /// Sends one request and hands every message of the answer to `visit`: until NLMSG_DONE for a dump (NLM_F_DUMP),
  /// one message otherwise. A dump that the kernel calls interrupted is begun again by the caller: failed_precondition
  /// with retry now.
  Result<void> query(NetlinkBatch& batch, std::string_view operation, const Visitor& visit);

  int fd() const noexcept { return fd_.get(); }

 private:
  explicit NetlinkSocket(core::UniqueFd fd) : fd_(std::move(fd)) {}
  Result<std::uint32_t> send(NetlinkBatch& batch, std::string_view operation);
  Result<ByteView> receive(std::string_view operation);
  core::UniqueFd fd_;
  std::uint32_t sequence_ = 0;
  std::vector<std::byte> buffer_;
};

}  // namespace sandbox::os
