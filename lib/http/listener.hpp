#pragma once

#include <sys/types.h>

#include <memory>
#include <string>

#include <boost/asio/posix/basic_stream_descriptor.hpp>

#include "http/server.hpp"
#include "http/transport.hpp"

namespace sandbox::http {

/// A bound, listening socket; takes its unix socket file with it.
struct Listener {
  using Descriptor = boost::asio::posix::basic_stream_descriptor<boost::asio::io_context::executor_type>;
  Listener(boost::asio::io_context& context, core::UniqueFd fd);
  ~Listener();
  Listener(const Listener&) = delete;
  /// Now, though a wait may hold this a little longer.
  void close();

  core::UniqueFd socket;
  Descriptor descriptor;
  Peer::Kind kind = Peer::Kind::tcp;
  TlsContext tls;
  std::uint16_t port = 0;
  std::string path;
  dev_t device = 0;
  ino_t inode = 0;
};

/// Errors: see Server::listen_unix and listen_tcp.
Result<std::unique_ptr<Listener>> bind_unix(boost::asio::io_context& context, const std::string& path, mode_t mode);
Result<std::unique_ptr<Listener>> bind_tcp(boost::asio::io_context& context, const std::string& address);

}  // namespace sandbox::http
