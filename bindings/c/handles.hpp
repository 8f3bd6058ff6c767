#pragma once

#include <atomic>
#include <memory>
#include <utility>

#include <sandbox/client.hpp>
#include <sandbox/sandbox.hpp>

#include "guard.hpp"

/// A sandbox's handle. What still runs on a worker keeps the C++ object, but the sandbox ends (or is left) with this.
struct sbx_sandbox {
  explicit sbx_sandbox(sandbox::Sandbox made) : sandbox(std::make_shared<sandbox::Sandbox>(std::move(made))) {}
  ~sbx_sandbox();
  static void retire(std::unique_ptr<sbx_sandbox> handle);
  const std::shared_ptr<sandbox::Sandbox> sandbox;
};

struct sbx_client {
  explicit sbx_client(sandbox::Client made) : client(std::make_shared<sandbox::Client>(std::move(made))) {}
  ~sbx_client() { client->close().ignore("nobody is left to tell"); }
  const std::shared_ptr<sandbox::Client> client;
};

namespace sandbox::c {

/// A C++ handle of a stream that can be closed while others use it.
template <class Stream>
struct Closeable {
  explicit Closeable(Stream made) : stream(std::move(made)) {}
  void close() noexcept {
    if (stranded()) return;
    closed.store(true, std::memory_order_release);
    stream.close();
  }
  Result<void> usable() const {
    if (closed.load(std::memory_order_acquire)) return Error(ErrorCode::failed_precondition, "the handle was closed");
    return {};
  }
  Stream stream;
  std::atomic<bool> closed{false};
};

/// The sandbox of a handle. Errors: invalid_argument (null).
inline Result<std::shared_ptr<Sandbox>> object(const sbx_sandbox* handle) {
  if (!handle) return null_argument("sandbox");
  return handle->sandbox;
}
inline Result<std::shared_ptr<Client>> object(const sbx_client* handle) {
  if (!handle) return null_argument("client");
  return handle->client;
}

}  // namespace sandbox::c

struct sbx_process : sandbox::c::Closeable<sandbox::RunningProcess> {
  using Closeable::Closeable;
};
struct sbx_reader : sandbox::c::Closeable<sandbox::FileReader> {
  using Closeable::Closeable;
};
struct sbx_writer : sandbox::c::Closeable<sandbox::FileWriter> {
  using Closeable::Closeable;
};
