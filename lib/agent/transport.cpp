#include "agent/transport.hpp"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <utility>

#include "agent/facts.hpp"
#include "agent/loop.hpp"
#include "core/sync_point.hpp"
#include "os/fd_passing.hpp"

namespace sandbox::agent {
namespace {

bool is_stream(int fd) {
  int type = 0;
  socklen_t size = sizeof type;
  return ::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM;
}

}  // namespace

Transport::Transport(Agent& agent, core::UniqueFd socket, core::UniqueFd door)
    : agent_(agent), first_(std::move(socket)), door_(std::move(door)) {}

Transport::~Transport() {
  if (retire_slice_) agent_.loop().cancel_slice(retire_slice_);
  top_.reset();
  if (door_) agent_.loop().unwatch(door_.get());
}

Result<void> Transport::start(std::string_view own_status) {
  if (door_) SANDBOX_CHECK(agent_.loop().watch(door_.get(), EPOLLIN, [this](std::uint32_t events) { open_door(events); }));
  return serve(std::move(first_), own_status);
}

Result<void> Transport::serve(core::UniqueFd socket, std::string_view own_status) {
  session::Options options = session_options();
  options.hello.facts = collect_facts(own_status);
  SANDBOX_SYNC_POINT("agent.before_hello");
  auto server = std::make_unique<SocketServer>(agent_, std::move(socket), std::move(options), [this](const Error& why) {
    why.ignore(door_ ? "another client will come through the door" : "a lost client is how an agent's life ends");
    if (!door_) return agent_.loop().stop();
    // The server that tells us so is on the stack.
    retire_slice_ = agent_.loop().defer([this] {
      retire_slice_ = 0;
      top_.reset();
    });
  });
  SANDBOX_CHECK(server->start());
  top_ = std::move(server);
  return {};
}

void Transport::open_door(std::uint32_t) {
  std::byte mark[16];
  auto packet = os::receive_packet(door_.get(), mark, MSG_DONTWAIT);
  if (!packet) {
    const bool nothing = packet.error().sys_errno() == EAGAIN || packet.error().sys_errno() == EINTR;
    packet.error().ignore("nothing there, or the end of the door");
    if (!nothing) agent_.loop().stop();
    return;
  }
  SANDBOX_SYNC_POINT("agent.door_opened");
  if (packet->fds.size() != 1 || !is_stream(packet->fds.front().get())) return;
  if (retire_slice_) agent_.loop().cancel_slice(std::exchange(retire_slice_, 0));
  top_.reset();   // everything its client had open ends before the next one is greeted
  if (auto served = serve(std::move(packet->fds.front()), read_own_status()); !served)
    served.error().ignore("the client sees its socket closed");
}

}  // namespace sandbox::agent
