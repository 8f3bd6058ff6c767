#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <sandbox/service.hpp>

namespace sandbox::server {

/// The numbers of GET /metrics (sandbox-protocol section 1.11, and some of ours). Prometheus stays behind this header.
/// request() belongs to one thread, the reactor's; the rest may be called from any.
class Metrics {
 public:
  /// `version` for sandboxd_build_info.
  explicit Metrics(std::string_view version);
  ~Metrics();
  Metrics(const Metrics&) = delete;

  /// One answered request; /metrics itself is not counted. `pattern` must be one of the router's (static storage): it is
  /// told apart by address. Methods beyond the usual are counted as "other". About 100 ns.
  void request(std::string_view method, std::string_view pattern, unsigned status, std::chrono::nanoseconds took);
  enum class Method : std::uint8_t { warm, cold };
  void created(Method method);
  void destroyed();

  /// What is looked up when somebody asks. Pool numbers count up over the daemon's life.
  struct Now {
    std::uint64_t sandboxes = 0;
    std::uint64_t sessions = 0;
    std::uint64_t http_connections = 0;
    std::vector<PoolInfo> pools;
  };
  /// The text for "text/plain; version=0.0.4; charset=utf-8".
  std::string expose(const Now& now);
  static constexpr std::string_view kContentType = "text/plain; version=0.0.4; charset=utf-8";

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sandbox::server
