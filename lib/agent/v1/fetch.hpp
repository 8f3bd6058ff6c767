#pragma once

#include <memory>
#include <unordered_map>

#include "agent/retired.hpp"
#include "agent/v1/connection.hpp"

/// net.fetch: HTTP from inside the sandbox, never to addresses of this host or of private networks, whatever a name
/// resolves to. Names are resolved, and http:// is spoken, by a forked child of the agent, because both may block; https://
/// is left to the image's curl, pinned to the address that was looked at.
namespace sandbox::agent::v1 {

class State;
class Fetch;

class Fetches {
 public:
  static constexpr std::size_t kMaxFetches = 32;   ///< at a time: each costs a process and up to 10 MiB
  static constexpr int kMaxRedirects = 10;
  static constexpr core::Duration kTimeout = std::chrono::seconds(30);

  explicit Fetches(State& state);
  ~Fetches();
  Fetches(const Fetches&) = delete;

  void fetch(const Request& request);
  /// Tests have no servers but their own. Nothing a guest or client says leads here.
  void permit_internal_addresses() noexcept { permit_internal_ = true; }

 private:
  friend class Fetch;
  void ended(Fetch& fetch);

  State& state_;
  bool permit_internal_ = false;
  std::unordered_map<Fetch*, std::unique_ptr<Fetch>> running_;
  Retired retired_;
};

}  // namespace sandbox::agent::v1
