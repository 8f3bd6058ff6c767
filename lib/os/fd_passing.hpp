#pragma once

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include <sandbox/bytes.hpp>
#include <sandbox/result.hpp>

#include "core/unique_fd.hpp"

/// Packets with descriptors over unix sockets (unix(7), SCM_RIGHTS). Guest-safe.
namespace sandbox::os {

/// Most descriptors one packet may carry here. (The kernel's limit is 253.)
inline constexpr std::size_t kMaxPassedFds = 16;

/// A connected pair, close-on-exec. `type` is SOCK_STREAM or SOCK_SEQPACKET, with SOCK_NONBLOCK where wanted.
Result<std::pair<core::UniqueFd, core::UniqueFd>> socket_pair(int type);

/// Sends one packet. Never raises SIGPIPE. Errors: unavailable (peer gone), resource_exhausted with EAGAIN when the
/// socket is non-blocking and full, invalid_argument when too long.
Result<void> send_packet(int socket, ByteView bytes, std::span<const int> fds = {});

struct Packet {
  std::size_t size = 0;              ///< bytes written to the caller's buffer
  std::vector<core::UniqueFd> fds;   ///< close-on-exec
};

/// Receives one packet into `buffer`. `flags` as for recvmsg(2), e.g. MSG_DONTWAIT.
/// Errors: unavailable (end of stream), resource_exhausted with EAGAIN (nothing there), protocol (packet or its
/// descriptors did not fit; all of it was discarded).
Result<Packet> receive_packet(int socket, std::span<std::byte> buffer, int flags = 0);

}  // namespace sandbox::os
