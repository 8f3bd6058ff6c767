#include "http/listener.hpp"

#include <arpa/inet.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

#include "core/text.hpp"

namespace sandbox::http {
namespace {

constexpr int kBacklog = 4096;

Error bad_address(const std::string& address, const char* why) {
  return Error(ErrorCode::invalid_argument, address + ": " + why).with_operation("http.listen");
}

Result<void> make_parents(const std::string& path) {
  for (auto slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1)) {
    const std::string parent = path.substr(0, slash);
    if (::mkdir(parent.c_str(), 0755) != 0 && errno != EEXIST) return Error::from_errno(errno, "http.listen", parent);
  }
  return {};
}

Error bind_error(const std::string& what) {
  const int cause = errno;
  if (cause != EADDRINUSE) return Error::from_errno(cause, "http.listen", what);
  return Error(ErrorCode::already_exists, what + ": somebody listens there already").with_operation("http.listen").with_errno(cause);
}

/// Removes a socket file nobody answers on. Errors: already_exists, invalid_argument.
Result<void> clear_stale(const std::string& path, const sockaddr_un& address) {
  struct stat there {};
  if (::lstat(path.c_str(), &there) != 0) return {};
  if (!S_ISSOCK(there.st_mode)) return bad_address(path, "exists and is no socket");
  const core::UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!probe) return Error::from_errno(errno, "http.listen");
  // EAGAIN: somebody listens and is busy.
  if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 || errno == EAGAIN) {
    return Error(ErrorCode::already_exists, path + ": another server answers there").with_operation("http.listen");
  }
  if (errno != ECONNREFUSED) return Error::from_errno(errno, "http.listen", path);
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return Error::from_errno(errno, "http.listen", path);
  return {};
}

}  // namespace

Listener::Listener(boost::asio::io_context& context, core::UniqueFd fd)
    : socket(std::move(fd)), descriptor(context.get_executor()) {
  descriptor.assign(socket.get());
}

Listener::~Listener() { close(); }

void Listener::close() {
  if (descriptor.is_open()) descriptor.release();
  socket.reset();
  // Only the file we made: somebody may have put another there meanwhile.
  struct stat now {};
  if (!path.empty() && ::lstat(path.c_str(), &now) == 0 && now.st_dev == device && now.st_ino == inode) ::unlink(path.c_str());
  path.clear();
}

Result<std::unique_ptr<Listener>> bind_unix(boost::asio::io_context& context, const std::string& path, mode_t mode) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) return bad_address(path, "no usable socket path (1 to 107 bytes)");
  std::memcpy(address.sun_path, path.data(), path.size());
  SANDBOX_CHECK(make_parents(path));
  SANDBOX_CHECK(clear_stale(path, address));

  core::UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return Error::from_errno(errno, "http.listen");
  // Before bind(2), which gives the file this mode less the umask: at no moment may it be open to more.
  ::fchmod(socket.get(), mode);
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return bind_error(path);
  auto listener = std::make_unique<Listener>(context, std::move(socket));
  struct stat made {};
  if (::lstat(path.c_str(), &made) == 0) {
    listener->path = path;
    listener->device = made.st_dev;
    listener->inode = made.st_ino;
  }
  if (::chmod(path.c_str(), mode) != 0) return Error::from_errno(errno, "http.listen", path);
  if (::listen(listener->socket.get(), kBacklog) != 0) return bind_error(path);
  listener->kind = Peer::Kind::unix_socket;
  return listener;
}

Result<std::unique_ptr<Listener>> bind_tcp(boost::asio::io_context& context, const std::string& address) {
  const auto colon = address.rfind(':');
  if (colon == std::string::npos) return bad_address(address, "no port");
  std::string host = address.substr(0, colon);
  const std::string port = address.substr(colon + 1);
  if (!core::parse_number<std::uint16_t>(port)) return bad_address(address, "no port number");
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  addrinfo hints{};
  hints.ai_family = host.empty() ? AF_INET6 : AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (const int failed = ::getaddrinfo(host.empty() ? nullptr : host.c_str(), port.c_str(), &hints, &found); failed != 0) {
    return bad_address(address, ::gai_strerror(failed));
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(found, ::freeaddrinfo);

  core::UniqueFd socket(::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_in any{};
  const sockaddr* to = found->ai_addr;
  socklen_t to_size = found->ai_addrlen;
  if (!socket && host.empty()) {  // a kernel without IPv6
    socket.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    any.sin_family = AF_INET;
    any.sin_port = htons(*core::parse_number<std::uint16_t>(port));
    to = reinterpret_cast<const sockaddr*>(&any);
    to_size = sizeof any;
  }
  if (!socket) return Error::from_errno(errno, "http.listen", address);
  const int on = 1, off = 0;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (host.empty() && to->sa_family == AF_INET6) ::setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  if (::bind(socket.get(), to, to_size) != 0) return bind_error(address);
  if (::listen(socket.get(), kBacklog) != 0) return bind_error(address);
  sockaddr_storage bound{};
  socklen_t bound_size = sizeof bound;
  if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&bound), &bound_size) != 0) return bind_error(address);
  auto listener = std::make_unique<Listener>(context, std::move(socket));
  listener->port = ntohs(bound.ss_family == AF_INET6 ? reinterpret_cast<const sockaddr_in6&>(bound).sin6_port
                                                     : reinterpret_cast<const sockaddr_in&>(bound).sin_port);
  return listener;
}

}  // namespace sandbox::http
