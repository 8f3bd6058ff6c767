#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <sandbox/bytes.hpp>

#include "simulation/ledger.hpp"
#include "simulation/random.hpp"

namespace sandbox::simulation {

/// One direction of a transport: bytes in order, at most `capacity` of them under way, and possibly an end behind them.
/// A mutation of frames is done here, on what was written; it needs plain frames.
class Pipe {
 public:
  Pipe(Random& random, Ledger& ledger, std::size_t capacity, bool to_agent, bool plain)
      : random_(random), ledger_(ledger), capacity_(capacity), to_agent_(to_agent), plain_(plain) {}

  /// Takes a prefix; 0: full, or nobody reads any more (then too bytes vanish as they do in a socket's buffer).
  std::size_t put(ByteView bytes);
  ByteView under_way() const noexcept { return as_bytes(std::string_view(bytes_)); }
  /// Takes `count` bytes out, as they arrive.
  std::string take(std::size_t count);
  /// Nothing is added any more; what is under way beyond `kept` bytes is lost.
  void end(std::size_t kept);
  bool ended() const noexcept { return ended_; }
  bool at_end() const noexcept { return ended_ && bytes_.empty(); }
  /// Bytes in front of everything else.
  void insert(std::string_view bytes) { bytes_.insert(0, bytes); }

 private:
  void tap(std::string_view written);
  void frame(std::string whole);

  Random& random_;
  Ledger& ledger_;
  const std::size_t capacity_;
  const bool to_agent_, plain_;
  std::string bytes_;
  bool ended_ = false;
  std::string tapped_;   ///< an incomplete frame
  std::string held_;     ///< a frame that changes places with the next
};

/// A transport between the ends.
struct Wire {
  Wire(Random& random, Ledger& ledger, std::size_t capacity, bool plain)
      : to_agent(random, ledger, capacity, true, plain), to_client(random, ledger, capacity, false, plain) {}
  Pipe to_agent, to_client;
  bool hole = false;             ///< everything vanishes and nobody is told
  bool client_left = false, agent_left = false;
  std::uint32_t number = 0;
};

}  // namespace sandbox::simulation
