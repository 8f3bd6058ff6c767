#pragma once

#include <cstdint>
#include <deque>
#include <string>

#include "session/session.hpp"

namespace sandbox::agent::v1 {

/// Output taken from a program whose credit is given back when the client has it.
struct Credit {
  session::StreamId stream = 0;   ///< of the loopback; 0: none
  session::Channel channel = session::Channel::out;
  std::size_t bytes = 0;
};

/// Something the client is told without having asked.
struct Notice {
  enum class Tier : std::uint8_t {
    state,    ///< how a process ended: kept longest
    output,   ///< everything else
  };
  Tier tier = Tier::output;
  std::string method;   ///< empty: `body` is a binary message (output of a terminal)
  std::string body;     ///< params as JSON
  Credit credit;
};

/// What happened while no client was attached. Bounded: the newest 50 state notices (older ones go silently), and other
/// notices up to 1000 or 1 MiB (the oldest go, and are counted).
class NoticeBuffer {
 public:
  static constexpr std::size_t kMaxStates = 50;
  static constexpr std::size_t kMaxOutputs = 1000;
  static constexpr std::size_t kMaxOutputBytes = 1 << 20;

  void add(Notice notice);
  std::size_t size() const noexcept { return states_.size() + outputs_.size(); }
  std::uint64_t truncated() const noexcept { return truncated_; }
  /// Everything else is forgotten, and counted, too.
  void drop();
  /// State notices first, each tier in the order it came. The buffer is empty afterwards and nothing counted.
  std::deque<Notice> take();

 private:
  std::deque<Notice> states_, outputs_;
  std::size_t output_bytes_ = 0;
  std::uint64_t truncated_ = 0;
};

}  // namespace sandbox::agent::v1
