#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/unique_fd.hpp"

/// A laboratory of network namespaces. One plays the host: the runtime under test, or the launcher's network code,
/// runs inside it. Others play what surrounds a host. No packet leaves the machine: none of the namespaces is joined
/// to the real one.
///
///   private 192.168.50.10, 10.200.0.10 ──┐
///   metadata 169.254.169.254 ────────────┤ host 192.0.2.2 ──── public 192.0.2.1 (the default route),
///   sandboxes ───────────────────────────┘                            198.51.100.10, 203.0.113.10
///
/// Each of them listens on kTcpPort, TCP and UDP, on every address. The documentation networks (RFC 5737) stand for
/// public addresses. "public" has no route to private addresses, as the internet has none: what arrives there with a
/// private source is recorded but cannot be answered.
namespace sandbox::lab {

class NetLab {
 public:
  static constexpr std::uint16_t kTcpPort = 8088;
  static constexpr const char* kPublic = "198.51.100.10";
  static constexpr const char* kPublic2 = "203.0.113.10";
  static constexpr const char* kPrivate = "192.168.50.10";
  static constexpr const char* kPrivateTen = "10.200.0.10";
  static constexpr const char* kMetadata = "169.254.169.254";
  static constexpr const char* kHostPublic = "192.0.2.2";   ///< the host's address on the way out
  static constexpr const char* kHostPrivate = "192.168.50.1";

  /// Needs root. Throws std::runtime_error with what failed.
  NetLab();
  ~NetLab();
  NetLab(const NetLab&) = delete;
  NetLab& operator=(const NetLab&) = delete;

  int host() const { return spaces_.at("host").get(); }
  int space(const std::string& name) const { return spaces_.at(name).get(); }

  /// The calling thread, and the threads and processes it starts from now on, are inside `netns` while this lives.
  class Inside {
   public:
    explicit Inside(int netns);
    ~Inside();
    Inside(const Inside&) = delete;

   private:
    core::UniqueFd back_;
  };

  /// A new namespace with loopback up.
  static core::UniqueFd make_space();
  /// Joins two namespaces by a cable with one address at each end ("10.0.0.1/24").
  static void cable(int a, const std::string& a_name, const std::string& a_address, int b, const std::string& b_name,
                    const std::string& b_address);
  static void add_address(int netns, const std::string& interface, const std::string& address);
  /// `to` is "default" or "10.0.0.0/8".
  static void add_route(int netns, const std::string& to, const std::string& via);

  /// A control sandbox: joined to the host like a neighbour, with routes both ways and no rules in between. What a probe
  /// reaches from here shows that the probe works.
  core::UniqueFd make_control();

  /// Whether a TCP connection from inside `netns` to `address` is answered in time. `source`: bind to it first.
  static bool reaches(int netns, const std::string& address, std::uint16_t port = kTcpPort,
                      std::chrono::milliseconds patience = std::chrono::milliseconds(250), const std::string& source = {});
  /// Sends one datagram. False when the kernel refuses to send.
  static bool send_datagram(int netns, const std::string& address, const std::string& text, const std::string& source = {});
  /// Listens with our little server on all addresses of `netns`, IPv4.
  void serve(int netns, const std::string& name);

  struct Seen {
    std::string server;  ///< who saw it
    std::string from;    ///< source address as it arrived
    std::string text;    ///< of a datagram; empty for a connection
  };
  /// Everything that arrived at the servers so far.
  std::vector<Seen> seen() const;
  /// Waits for a datagram with this text.
  bool wait_for(const std::string& text, std::chrono::milliseconds patience = std::chrono::seconds(5)) const;
  bool saw(const std::string& text) const { return wait_for(text, std::chrono::milliseconds(0)); }

  /// Names of the network interfaces of `netns`.
  static std::vector<std::string> interfaces(int netns);
  static std::string read_sysctl(int netns, const std::string& path);
  static void write_sysctl(int netns, const std::string& path, const std::string& value);

 private:
  struct Server {
    std::string name;
    core::UniqueFd tcp, udp;
  };
  void run();
  std::map<std::string, core::UniqueFd> spaces_;
  mutable std::mutex mutex_;
  std::vector<Server> servers_;
  std::vector<Seen> seen_;
  core::UniqueFd wake_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
  int controls_ = 0;
};

}  // namespace sandbox::lab
