#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <sandbox/result.hpp>
#include <sandbox/runtime.hpp>
#include <sandbox/spec.hpp>

#include "core/clock.hpp"
#include "core/unique_fd.hpp"
#include "protocol/messages.hpp"

/// What a backend is: something that can say whether it works here, make a sandbox, hand out a byte stream to the agent
/// inside, and take the sandbox away. Everything a user does inside goes through the session on that stream.
namespace sandbox::backend {

/// A root file system resolved by lib/image: directories on this host, lowest layer first, plus how to treat them.
struct ResolvedImage {
  bool host_userland = false;          ///< compose from this host's /usr and chosen parts of /etc; `layers` go on top
  std::vector<std::string> layers;     ///< absolute directories, lowest first, owned by ids 0…65535 as inside
  std::string scratch_layer;           ///< template: directory with root/, tmp/, shm/ (and upper/) to start the writable part from
  std::string digest;                  ///< identifies the content; part of the pool key
  std::vector<std::string> pinned;     ///< of these directories, those to hold a shared flock(2) on for a sandbox that may outlive us
};

/// One sandbox, made. Destruction destroys it (destroy() is the explicit form). Thread-safe.
class Instance {
 public:
  virtual ~Instance() = default;
  /// Byte stream to the agent (non-blocking, close-on-exec). Call once.
  virtual core::UniqueFd take_stream() = 0;
  /// Readable (poll) when the sandbox has ended by itself or was destroyed; owned by the instance. A pidfd, usually.
  virtual int exit_fd() const noexcept = 0;
  /// Compares what the agent sees of its confinement with what was asked for. Called before the sandbox is handed out.
  virtual Result<void> verify(const protocol::Facts& facts) const = 0;
  virtual Result<void> destroy() = 0;
  virtual Result<SandboxStats> stats() = 0;
  virtual Result<void> pause() = 0;
  /// The same for something that is done at once: should this process die meanwhile, the sandbox goes on by itself.
  virtual Result<void> pause_briefly() { return pause(); }
  virtual Result<void> resume() = 0;
  /// A TCP connection to the sandbox's loopback port, made inside its network namespace. Errors: unavailable (refused).
  virtual Result<core::UniqueFd> connect(std::uint16_t port, core::TimePoint deadline) = 0;
  /// Whether something listens on `port` inside (no connection is made).
  virtual Result<bool> listening(std::uint16_t port) = 0;
  /// Directory descriptor of everything writable (root/, tmp/, shm/, upper/), ids shifted by `first_id`. Freeze first.
  struct Writable {
    core::UniqueFd directory;
    std::uint32_t first_id = 0;   ///< host id of uid 0 inside
  };
  virtual Result<Writable> writable() = 0;
  /// Whether the kernel killed it for memory, for a sandbox that ended by itself.
  virtual std::uint64_t oom_kills() = 0;
  virtual const std::vector<std::string>& unenforced() const noexcept = 0;
  /// Why its agent did not greet, when `seen` is what that looked like: the step at which the launch failed, if it did.
  /// Waits a moment for the end of a process that is ending.
  virtual Error explain(Error seen) { return seen; }
  /// From now on the sandbox outlives this process, and `record` is what the next one finds (Backend::adopt). Does not
  /// wait: told when this returns, should the process die right then. Nothing where the backend is not persistent.
  /// Errors: unavailable, deadline_exceeded (whoever keeps it is gone or takes nothing), invalid_argument (too large).
  virtual Result<void> commit(std::string_view record) {
    (void)record;
    return {};
  }
  /// Lets go of a committed sandbox: it is not destroyed, and this object is of no further use.
  virtual void leave() noexcept {}
};

/// A sandbox that an earlier process committed.
struct Found {
  std::string record;                    ///< of its commit; empty when even that could not be learnt
  std::unique_ptr<Instance> instance;    ///< none: lost
  bool paused = false;                   ///< its agent answers only after resume()
  std::string lost;                      ///< why, for people
};

/// A spec made ready for repetition: image trees mounted, filters compiled. Thread-safe.
class Recipe {
 public:
  virtual ~Recipe() = default;
  /// Makes one sandbox and starts its agent. Errors name the step ("native.mount") and errno.
  virtual Result<std::unique_ptr<Instance>> create(core::TimePoint deadline) = 0;
  /// Part of what it stands on has died: it may still work, but should be prepared again.
  virtual bool stale() const noexcept { return false; }
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string_view name() const noexcept = 0;
  /// Measured, not assumed; bounded by `deadline`. Errors: unsupported with what to enable.
  virtual Result<HostReport> probe(core::TimePoint deadline) = 0;
  /// What holds for a sandbox of the default spec, one lock, limit or program per line, the same in every process of this
  /// build on this host. What a proof is bound to. Errors: unsupported (this backend cannot be proven).
  virtual Result<std::vector<std::string>> policy(core::TimePoint deadline) {
    (void)deadline;
    return Error(ErrorCode::unsupported, "backend \"" + std::string(name()) + "\" has no policy that a proof could be bound to");
  }
  virtual Result<std::shared_ptr<Recipe>> prepare(const SandboxSpec& spec, const ResolvedImage& image) = 0;
  /// How many helper processes died and were replaced so far; prepare() replaces them.
  virtual std::uint64_t restarts() const noexcept { return 0; }
  /// Takes over what an earlier process left. Once, before anything else is made. What has ended meanwhile comes without
  /// an instance and is forgotten.
  virtual Result<std::vector<Found>> adopt(core::TimePoint deadline) {
    (void)deadline;
    return std::vector<Found>();
  }
  /// Like close(), but what was committed goes on for the next process.
  virtual Result<void> leave() { return close(); }
  /// Ends everything; later calls fail with unavailable. Idempotent.
  virtual Result<void> close() = 0;
};

}  // namespace sandbox::backend
