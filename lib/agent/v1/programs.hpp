#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "agent/v1/connection.hpp"
#include "protocol/messages.hpp"

/// process.*: programs, run as execs of the loopback.
namespace sandbox::agent::v1 {

class State;
class Program;

class Programs {
 public:
  /// Output of all running process.exec together that is kept for their answers; more is cut.
  static constexpr std::size_t kMaxCollected = 48 << 20;
  static constexpr std::size_t kMaxPrograms = 1024;
  static constexpr std::size_t kMaxInput = 1 << 20;   ///< waiting for one process to read it

  explicit Programs(State& state);
  ~Programs();
  Programs(const Programs&) = delete;

  void exec(const Request& request);
  void stream(const Request& request);
  void spawn(const Request& request);
  void pty(const Request& request);
  void resize(const Request& request);
  void signal(const Request& request);
  void input(const Request& request);
  /// Unknown processes and those without a terminal are ignored, and so is what a terminal does not take for long.
  void terminal_input(std::uint32_t pid, std::string_view bytes);

 private:
  friend class Program;
  enum class Mode : std::uint8_t { exec, stream, spawn, pty };
  void start(const Request& request, Mode mode);
  Program* find(std::int64_t pid) noexcept;
  void ended(Program& program);

  State& state_;
  std::unordered_map<session::StreamId, std::unique_ptr<Program>> running_;
  std::unordered_map<std::uint32_t, Program*> by_pid_;   ///< those that clients can name
  std::vector<std::unique_ptr<Program>> graveyard_;      ///< freed outside of their members
  std::size_t collected_ = 0;
};

}  // namespace sandbox::agent::v1
