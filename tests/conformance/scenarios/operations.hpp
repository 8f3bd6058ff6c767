#pragma once

#include <memory>
#include <optional>
#include <string>

#include <sandbox/client.hpp>
#include <sandbox/runtime.hpp>

#include "conformance/scenarios/story.hpp"

/// The operations of stories on the C++ interface.
namespace sandbox::scenarios {

/// Where sandboxes come from: one of runtime and client is there.
struct World {
  std::string environment;
  std::unique_ptr<Runtime> runtime;
  std::unique_ptr<Client> client;
};

/// What is done and to what, for one step.
struct Call {
  World& world;
  const std::string& operation;
  Arguments& args;
  const std::string& on;
  Scope& scope;
  std::any& made;

  /// The object that `on` names, as a T. Throws Surprise when it is another kind.
  template <class T>
  T& object() const {
    Saved& saved = scope.find(on);
    if (auto* found = std::any_cast<std::shared_ptr<T>>(&saved.handle)) return **found;
    throw Surprise(on + " is no object for this");
  }
};

/// A running program with what was read of it and not asked for yet.
struct ProcessHandle {
  RunningProcess process;
  std::string out = {}, err = {};
};

/// A TCP connection of the runner.
class SocketHandle {
 public:
  explicit SocketHandle(int fd) : fd_(fd) {}
  SocketHandle(const SocketHandle&) = delete;
  ~SocketHandle();
  int fd() const { return fd_; }

 private:
  int fd_;
};

// One per chapter of README.md; nothing when the operation is not theirs.
std::optional<Result<Object>> perform_on_sandbox(const Call& call);
std::optional<Result<Object>> perform_on_process(const Call& call);
std::optional<Result<Object>> perform_on_files(const Call& call);
std::optional<Result<Object>> perform_on_host(const Call& call);

/// Throws Surprise when nobody knows the operation.
Result<Object> perform(const Call& call);

/// A result without fields, or its error.
Result<Object> plain(const Result<void>& result);

}  // namespace sandbox::scenarios
