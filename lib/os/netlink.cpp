#include "os/netlink.hpp"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <string>
#include <utility>

namespace sandbox::os {

namespace {

constexpr std::size_t kReceiveBuffer = 32 * 1024;  ///< what the kernel fills at most per dump datagram (NLMSG_GOODSIZE is less)
constexpr std::size_t kMaxAttribute = 0xffff;      ///< nla_len is 16 bits
constexpr timeval kPatience{5, 0};

template <class Header>
void read(ByteView from, Header& to) noexcept {
  std::memcpy(&to, from.data(), sizeof to);
}

/// Drops `size` bytes rounded up to the alignment, or everything.
ByteView after(ByteView data, std::size_t size) noexcept {
  return data.subspan(std::min<std::size_t>(NLMSG_ALIGN(size), data.size()));
}

}  // namespace

void NetlinkBatch::append(const void* data, std::size_t size) {
  const auto* bytes = static_cast<const std::byte*>(data);
  buffer_.insert(buffer_.end(), bytes, bytes + size);
}

void NetlinkBatch::pad() { buffer_.resize(NLMSG_ALIGN(buffer_.size())); }

void NetlinkBatch::begin(std::uint16_t type, std::uint16_t flags, ByteView header) {
  finish();
  messages_.push_back(buffer_.size());
  const nlmsghdr message{0, type, static_cast<std::uint16_t>(flags | NLM_F_REQUEST), 0, 0};
  append(&message, sizeof message);
  append(header.data(), header.size());
  pad();
}

NetlinkBatch& NetlinkBatch::put(std::uint16_t attribute, ByteView value) {
  const std::size_t length = sizeof(nlattr) + value.size();
  if (length > kMaxAttribute) {
    too_long_ = true;
    return *this;
  }
  const nlattr header{static_cast<std::uint16_t>(length), attribute};
  append(&header, sizeof header);
  append(value.data(), value.size());
  pad();
  return *this;
}

NetlinkBatch& NetlinkBatch::put_string(std::uint16_t attribute, std::string_view value) {
  std::string text(value);
  return put(attribute, ByteView(reinterpret_cast<const std::byte*>(text.c_str()), text.size() + 1));
}
NetlinkBatch& NetlinkBatch::put_u8(std::uint16_t attribute, std::uint8_t value) { return put_struct(attribute, value); }
NetlinkBatch& NetlinkBatch::put_u32(std::uint16_t attribute, std::uint32_t value) { return put_struct(attribute, value); }
NetlinkBatch& NetlinkBatch::put_be32(std::uint16_t attribute, std::uint32_t value) {
  return put_struct(attribute, htonl(value));
}
NetlinkBatch& NetlinkBatch::put_be64(std::uint16_t attribute, std::uint64_t value) {
  const std::uint32_t halves[2] = {htonl(static_cast<std::uint32_t>(value >> 32)), htonl(static_cast<std::uint32_t>(value))};
  return put_struct(attribute, halves);
}

NetlinkBatch& NetlinkBatch::nest(std::uint16_t attribute) {
  nests_.push_back(buffer_.size());
  const nlattr header{0, static_cast<std::uint16_t>(attribute | NLA_F_NESTED)};
  append(&header, sizeof header);
  return *this;
}

NetlinkBatch& NetlinkBatch::end_nest() {
  pad();
  const std::size_t start = nests_.back();
  nests_.pop_back();
  const std::size_t length = buffer_.size() - start;
  if (length > kMaxAttribute) {
    too_long_ = true;
    return *this;
  }
  const auto value = static_cast<std::uint16_t>(length);
  std::memcpy(buffer_.data() + start + offsetof(nlattr, nla_len), &value, sizeof value);
  return *this;
}

void NetlinkBatch::finish() {
  while (!nests_.empty()) end_nest();
  if (messages_.empty()) return;
  const auto length = static_cast<std::uint32_t>(buffer_.size() - messages_.back());
  std::memcpy(buffer_.data() + messages_.back() + offsetof(nlmsghdr, nlmsg_len), &length, sizeof length);
}

ByteView NetlinkBatch::bytes() {
  finish();
  return buffer_;
}

void NetlinkBatch::clear() noexcept {
  buffer_.clear();
  messages_.clear();
  nests_.clear();
  too_long_ = false;
}

std::optional<std::uint32_t> NetlinkAttribute::be32() const noexcept {
  const auto raw = u32();
  return raw ? std::optional(ntohl(*raw)) : std::nullopt;
}

std::string_view NetlinkAttribute::text() const noexcept {
  const std::string_view all = as_text(value);
  return all.substr(0, all.find('\0'));
}

std::optional<NetlinkAttribute> NetlinkAttributes::next() noexcept {
  if (rest_.empty()) return std::nullopt;
  nlattr header;
  if (rest_.size() < sizeof header) {
    malformed_ = true;
    return std::nullopt;
  }
  read(rest_, header);
  if (header.nla_len < sizeof header || header.nla_len > rest_.size()) {
    malformed_ = true;
    rest_ = {};
    return std::nullopt;
  }
  NetlinkAttribute attribute;
  attribute.type = static_cast<std::uint16_t>(header.nla_type & NLA_TYPE_MASK);
  attribute.value = rest_.subspan(sizeof header, header.nla_len - sizeof header);
  rest_ = after(rest_, header.nla_len);
  return attribute;
}

std::optional<NetlinkAttribute> NetlinkAttributes::find(ByteView data, std::uint16_t type) noexcept {
  NetlinkAttributes attributes(data);
  while (auto attribute = attributes.next()) {
    if (attribute->type == type) return attribute;
  }
  return std::nullopt;
}

std::optional<NetlinkMessage> NetlinkMessages::next() noexcept {
  if (rest_.empty()) return std::nullopt;
  nlmsghdr header;
  if (rest_.size() < sizeof header) {
    malformed_ = true;
    return std::nullopt;
  }
  read(rest_, header);
  if (header.nlmsg_len < sizeof header || header.nlmsg_len > rest_.size()) {
    malformed_ = true;
    rest_ = {};
    return std::nullopt;
  }
  NetlinkMessage message;
  message.type = header.nlmsg_type;
  message.flags = header.nlmsg_flags;
  message.sequence = header.nlmsg_seq;
  message.payload = rest_.subspan(sizeof header, header.nlmsg_len - sizeof header);
  rest_ = after(rest_, header.nlmsg_len);
  return message;
}

std::optional<NetlinkAcknowledgement> acknowledgement(const NetlinkMessage& message) noexcept {
  NetlinkAcknowledgement result;
  ByteView attributes;
  if (message.type == NLMSG_ERROR) {
    const auto error = message.header<nlmsgerr>();
    if (!error) return std::nullopt;
    result.sys_errno = error->error;
    attributes = message.attributes<nlmsgerr>();
    // The request comes back behind its header unless it was cut off (NETLINK_CAP_ACK).
    if ((message.flags & NLM_F_CAPPED) == 0 && error->error != 0 && error->msg.nlmsg_len > sizeof(nlmsghdr)) {
      attributes = after(attributes, error->msg.nlmsg_len - sizeof(nlmsghdr));
    }
  } else if (message.type == NLMSG_DONE) {
    // A dump's end carries its error as a bare number; some ends carry nothing.
    const auto error = message.header<int>();
    result.sys_errno = error.value_or(0);
    if (error) attributes = message.attributes<int>();
  } else {
    return std::nullopt;
  }
  // The kernel writes negated errno values; anything else is not from it.
  if (result.sys_errno > 0 || result.sys_errno < -4095) return std::nullopt;
  result.sys_errno = -result.sys_errno;
  if (message.flags & NLM_F_ACK_TLVS) {
    if (const auto text = NetlinkAttributes::find(attributes, NLMSGERR_ATTR_MSG)) result.text = text->text();
  }
  return result;
}

Result<NetlinkSocket> NetlinkSocket::open(int protocol, std::uint32_t groups) {
  core::UniqueFd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol));
  if (!fd) return Error::from_errno(errno, "network.netlink", "socket");
  // Explanations of errors, without the request repeated; stricter checks of dumps. All optional.
  const int on = 1;
  (void)::setsockopt(fd.get(), SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on);
  (void)::setsockopt(fd.get(), SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
  (void)::setsockopt(fd.get(), SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof on);
  (void)::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &kPatience, sizeof kPatience);
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = groups;
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    return Error::from_errno(errno, "network.netlink", "bind");
  }
  return NetlinkSocket(std::move(fd));
}

Result<std::uint32_t> NetlinkSocket::send(NetlinkBatch& batch, std::string_view operation) {
  const ByteView data = batch.bytes();
  if (batch.too_long_) return Error(ErrorCode::internal, "netlink attribute too long").with_operation(std::string(operation));
  const std::uint32_t first = sequence_ + 1;
  for (const std::size_t offset : batch.messages_) {
    ++sequence_;
    std::memcpy(batch.buffer_.data() + offset + offsetof(nlmsghdr, nlmsg_seq), &sequence_, sizeof sequence_);
  }
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  ssize_t sent;
  do {
    sent = ::sendto(fd_.get(), data.data(), data.size(), MSG_NOSIGNAL, reinterpret_cast<sockaddr*>(&kernel), sizeof kernel);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) return Error::from_errno(errno, std::string(operation), "netlink send");
  return first;
}

Result<ByteView> NetlinkSocket::receive(std::string_view operation) {
  if (buffer_.empty()) buffer_.resize(kReceiveBuffer);
  for (;;) {
    sockaddr_nl from{};
    iovec part{buffer_.data(), buffer_.size()};
    msghdr header{};
    header.msg_name = &from;
    header.msg_namelen = sizeof from;
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    const ssize_t got = ::recvmsg(fd_.get(), &header, MSG_CMSG_CLOEXEC);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return Error::from_errno(ETIMEDOUT, std::string(operation), "netlink receive");
    if (got < 0) return Error::from_errno(errno, std::string(operation), "netlink receive");
    // Any process may send to a netlink socket; only the kernel has port 0.
    if (header.msg_namelen != sizeof from || from.nl_pid != 0) continue;
    if (header.msg_flags & MSG_TRUNC) return Error::from_errno(EMSGSIZE, std::string(operation), "netlink receive");
    return ByteView(buffer_.data(), static_cast<std::size_t>(got));
  }
}

namespace {

Error refused(const NetlinkAcknowledgement& answer, std::string_view operation, std::size_t index) {
  return Error::from_errno(answer.sys_errno, std::string(operation), answer.text)
      .with_detail("message", std::to_string(index));
}

Error garbled(std::string_view operation) {
  return Error(ErrorCode::protocol, "malformed netlink reply").with_operation(std::string(operation));
}

}  // namespace

Result<void> NetlinkSocket::transact(NetlinkBatch& batch, std::string_view operation) {
  std::vector<bool> awaited;
  (void)batch.bytes();
  for (const std::size_t offset : batch.messages_) {
    std::uint16_t flags;
    std::memcpy(&flags, batch.buffer_.data() + offset + offsetof(nlmsghdr, nlmsg_flags), sizeof flags);
    awaited.push_back((flags & NLM_F_ACK) != 0);
  }
  SANDBOX_TRY(const std::uint32_t first, send(batch, operation));
  batch.clear();

  auto left = static_cast<std::size_t>(std::count(awaited.begin(), awaited.end(), true));
  std::optional<Error> failure;
  while (left > 0) {
    SANDBOX_TRY(const ByteView datagram, receive(operation));
    NetlinkMessages messages(datagram);
    while (const auto message = messages.next()) {
      const std::uint32_t index = message->sequence - first;  // wraps to something huge for what is older
      if (index >= awaited.size()) continue;
      const auto answer = acknowledgement(*message);
      if (!answer) continue;
      if (answer->sys_errno != 0 && !failure) failure.emplace(refused(*answer, operation, index));
      if (awaited[index]) {
        awaited[index] = false;
        --left;
      } else if (answer->sys_errno != 0) {
        left = 0;  // an nf_tables batch refused as a whole: the rest stays unanswered
        break;
      }
    }
    if (messages.malformed()) return garbled(operation);
  }
  if (failure) return std::move(*failure);
  return {};
}

Result<void> NetlinkSocket::query(NetlinkBatch& batch, std::string_view operation, const Visitor& visit) {
  (void)batch.bytes();
  std::uint16_t flags = 0;
  if (!batch.empty()) std::memcpy(&flags, batch.buffer_.data() + offsetof(nlmsghdr, nlmsg_flags), sizeof flags);
  const bool dump = (flags & NLM_F_DUMP) == NLM_F_DUMP;
  SANDBOX_TRY(const std::uint32_t sequence, send(batch, operation));
  batch.clear();

  bool interrupted = false;
  for (;;) {
    SANDBOX_TRY(const ByteView datagram, receive(operation));
    NetlinkMessages messages(datagram);
    while (const auto message = messages.next()) {
      if (message->sequence != sequence) continue;
      interrupted = interrupted || (message->flags & NLM_F_DUMP_INTR) != 0;
      if (message->type == NLMSG_ERROR || message->type == NLMSG_DONE) {
        const auto answer = acknowledgement(*message);
        if (!answer) return garbled(operation);
        if (answer->sys_errno != 0) return refused(*answer, operation, 0);
        if (interrupted) {
          return Error(ErrorCode::failed_precondition, "changed while it was read")
              .with_operation(std::string(operation)).with_retry(Retry::now);
        }
        return {};
      }
      SANDBOX_CHECK(visit(*message));
      if (!dump) return {};
    }
    if (messages.malformed()) return garbled(operation);
  }
}

}  // namespace sandbox::os
