#include "os/fd_passing.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>

namespace {

using namespace sandbox;

TEST(FdPassing, CarriesBytesAndDescriptors) {
  auto [left, right] = os::socket_pair(SOCK_SEQPACKET).value();
  int pipe[2];
  ASSERT_EQ(::pipe2(pipe, O_CLOEXEC), 0);
  core::UniqueFd read_end(pipe[0]), write_end(pipe[1]);
  const int fds[] = {write_end.get()};
  ASSERT_TRUE(os::send_packet(left.get(), as_bytes("hello"), fds));
  std::array<std::byte, 64> buffer;
  auto packet = os::receive_packet(right.get(), buffer).value();
  EXPECT_EQ(as_text(ByteView(buffer.data(), packet.size)), "hello");
  ASSERT_EQ(packet.fds.size(), 1u);
  EXPECT_NE(::fcntl(packet.fds[0].get(), F_GETFD) & FD_CLOEXEC, 0);
  ASSERT_EQ(::write(packet.fds[0].get(), "x", 1), 1);
  char byte = 0;
  EXPECT_EQ(::read(read_end.get(), &byte, 1), 1);
  EXPECT_EQ(byte, 'x');
}

TEST(FdPassing, TooLongPacketsAreDiscardedWhole) {
  auto [left, right] = os::socket_pair(SOCK_SEQPACKET).value();
  const int fds[] = {left.get()};
  ASSERT_TRUE(os::send_packet(left.get(), as_bytes("0123456789"), fds));
  ASSERT_TRUE(os::send_packet(left.get(), as_bytes("ok")));
  std::array<std::byte, 4> buffer;
  auto cut = os::receive_packet(right.get(), buffer);
  ASSERT_FALSE(cut);
  EXPECT_EQ(cut.error().code(), ErrorCode::protocol);
  EXPECT_EQ(os::receive_packet(right.get(), buffer).value().size, 2u);
}

TEST(FdPassing, EndAndEmptinessAreToldApart) {
  auto [left, right] = os::socket_pair(SOCK_SEQPACKET).value();
  std::array<std::byte, 4> buffer;
  auto empty = os::receive_packet(right.get(), buffer, MSG_DONTWAIT);
  ASSERT_FALSE(empty);
  EXPECT_EQ(empty.error().sys_errno(), EAGAIN);
  left.reset();
  auto ended = os::receive_packet(right.get(), buffer);
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().code(), ErrorCode::unavailable);
  auto sent = os::send_packet(right.get(), as_bytes("x"));  // no SIGPIPE
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code(), ErrorCode::unavailable);
}

}  // namespace
