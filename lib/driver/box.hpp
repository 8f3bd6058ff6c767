#pragma once

#include <chrono>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include <sandbox/sandbox.hpp>

#include "link/link.hpp"

/// Between the handles of include/sandbox and whoever does the work. Operations inside a sandbox are the same for all:
/// a stream on link(). Only what touches the sandbox from outside differs, and is virtual here.
namespace sandbox::driver {

class Box {
 public:
  virtual ~Box() = default;
  virtual const std::string& id() const noexcept = 0;
  virtual const SandboxSpec& spec() const noexcept = 0;
  virtual const std::vector<std::string>& unenforced() const noexcept = 0;
  /// The session with the agent. Lives as long as the box.
  virtual const std::shared_ptr<link::Link>& link() const noexcept = 0;
  /// Where completions of asynchronous operations run by default.
  virtual aio::Reactor& reactor() noexcept = 0;

  /// Fast check before an operation: failed_precondition when paused or closed, unavailable when lost.
  virtual Result<void> usable() const = 0;
  virtual Result<SandboxStats> stats() = 0;
  virtual Result<void> pause() = 0;
  virtual Result<void> resume() = 0;
  virtual Result<TemplateInfo> save_template(std::string label) = 0;
  virtual Result<int> connect(std::uint16_t port, std::chrono::milliseconds timeout) = 0;
  /// `stop` ends the waiting with cancelled; the port is free then, also when it had just been opened.
  virtual Result<ExposedPort> expose(std::uint16_t port, std::uint16_t host_port, std::chrono::milliseconds timeout,
                                     const std::stop_token& stop) = 0;
  virtual Result<std::vector<ExposedPort>> exposed() = 0;
  virtual Result<void> unexpose(std::uint16_t port) = 0;
  virtual Result<void> close() = 0;
  virtual bool closed() const noexcept = 0;
  /// Gives up the handle and lets the sandbox go on, where it can outlive its handle.
  virtual Result<void> detach() { return Error(ErrorCode::unsupported, "a sandbox of this process ends with its handle"); }
  /// The handle is gone.
  virtual void handle_gone() noexcept { close().ignore("the handle is gone: nobody is left to tell"); }
};

}  // namespace sandbox::driver
