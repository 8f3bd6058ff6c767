#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>

#include <sandbox/result.hpp>

#include "core/unique_fd.hpp"

namespace sandbox::c {

/// Tags of ended ops in the order they ended, and a descriptor that is readable while there are any. Unbounded: an op is
/// in it at most once, and who starts ops holds their memory anyway. Thread-safe.
class QueueState {
 public:
  /// Errors: resource_exhausted (descriptors).
  static Result<std::shared_ptr<QueueState>> open();
  int fd() const noexcept { return reader_.get(); }
  /// Whether the reader is to be woken now: it was empty.
  [[nodiscard]] bool put(std::uint64_t tag);
  void wake();
  std::size_t next(std::uint64_t* tags, std::size_t capacity);

 private:
  std::mutex mutex_;
  std::deque<std::uint64_t> tags_;
  core::UniqueFd reader_, writer_;
};

}  // namespace sandbox::c

struct sbx_queue {
  explicit sbx_queue(std::shared_ptr<sandbox::c::QueueState> shared) : state(std::move(shared)) {}
  const std::shared_ptr<sandbox::c::QueueState> state;
};
