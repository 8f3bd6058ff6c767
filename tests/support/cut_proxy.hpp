#pragma once

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <list>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>

/// Stands between a client and a daemon on a unix socket of its own: keeps what went through, and cuts when told.
namespace sandbox::testing {

class CutProxy {
 public:
  CutProxy(std::string path, std::string upstream) : path_(std::move(path)), upstream_(std::move(upstream)) {
    listener_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const sockaddr_un address = address_of(path_);
    if (::bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 || ::listen(listener_, 64) != 0)
      throw std::runtime_error("no proxy socket");
    accepting_ = std::thread([this] { accept_all(); });
  }
  ~CutProxy() {
    stopping_ = true;
    ::shutdown(listener_, SHUT_RDWR);
    accepting_.join();
    cut();
    for (auto& pipe : pipes_) pipe.thread.join();
    ::close(listener_);
    ::unlink(path_.c_str());
  }
  CutProxy(const CutProxy&) = delete;
  std::string url() const { return "unix://" + path_; }

  /// Breaks every connection there is. How many there were.
  int cut() {
    std::lock_guard lock(mutex_);
    int broken = 0;
    for (auto& pipe : pipes_) {
      if (pipe.done) continue;
      ::shutdown(pipe.client, SHUT_RDWR);
      ::shutdown(pipe.server, SHUT_RDWR);
      ++broken;
    }
    return broken;
  }
  /// While refused, new connections are closed at once.
  void refuse(bool on) { refusing_ = on; }
  void capture(bool on) { capturing_ = on; }
  std::string captured() const {
    std::lock_guard lock(mutex_);
    return captured_;
  }
  std::uint64_t bytes() const { return bytes_; }
  int connections() const { return connections_; }

 private:
  struct Pipe {
    int client = -1, server = -1;
    std::atomic<bool> done{false};
    std::thread thread;
  };

  static sockaddr_un address_of(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    return address;
  }

  void accept_all() {
    for (;;) {
      const int client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (client < 0 || stopping_) {
        if (client >= 0) ::close(client);
        return;
      }
      const int server = refusing_ ? -1 : ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
      const sockaddr_un address = address_of(upstream_);
      if (server < 0 || ::connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        if (server >= 0) ::close(server);
        ::close(client);
        continue;
      }
      ++connections_;
      std::lock_guard lock(mutex_);
      Pipe& pipe = pipes_.emplace_back();
      pipe.client = client;
      pipe.server = server;
      pipe.thread = std::thread([this, &pipe] { carry(pipe); });
    }
  }

  void carry(Pipe& pipe) {
    char buffer[65536];
    bool open[2] = {true, true};
    while (open[0] || open[1]) {
      pollfd polled[2] = {{open[0] ? pipe.client : -1, POLLIN, 0}, {open[1] ? pipe.server : -1, POLLIN, 0}};
      if (::poll(polled, 2, -1) < 0) break;
      for (int from = 0; from < 2; ++from) {
        if (polled[from].revents == 0) continue;
        const int in = from == 0 ? pipe.client : pipe.server, out = from == 0 ? pipe.server : pipe.client;
        const ssize_t got = ::recv(in, buffer, sizeof buffer, 0);
        if (got <= 0) {
          open[from] = false;
          ::shutdown(out, SHUT_WR);
          continue;
        }
        bytes_ += static_cast<std::uint64_t>(got);
        if (capturing_) {
          std::lock_guard lock(mutex_);
          captured_.append(buffer, static_cast<std::size_t>(got));
        }
        for (ssize_t sent = 0; sent < got;) {
          const ssize_t put = ::send(out, buffer + sent, static_cast<std::size_t>(got - sent), MSG_NOSIGNAL);
          if (put <= 0) {
            open[0] = open[1] = false;
            break;
          }
          sent += put;
        }
      }
    }
    std::lock_guard lock(mutex_);
    pipe.done = true;
    ::close(pipe.client);
    ::close(pipe.server);
  }

  std::string path_, upstream_;
  int listener_ = -1;
  std::thread accepting_;
  std::atomic<bool> stopping_{false}, refusing_{false}, capturing_{false};
  std::atomic<std::uint64_t> bytes_{0};
  std::atomic<int> connections_{0};
  mutable std::mutex mutex_;
  std::list<Pipe> pipes_;
  std::string captured_;
};

}  // namespace sandbox::testing
