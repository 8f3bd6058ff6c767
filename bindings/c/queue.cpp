#include "queue.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "guard.hpp"

namespace sandbox::c {

Result<std::shared_ptr<QueueState>> QueueState::open() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) < 0) return Error::from_errno(errno, "queue.socketpair");
  auto queue = std::make_shared<QueueState>();
  queue->reader_ = core::UniqueFd(ends[0]);
  queue->writer_ = core::UniqueFd(ends[1]);
  return queue;
}

bool QueueState::put(std::uint64_t tag) {
  std::lock_guard lock(mutex_);
  tags_.push_back(tag);
  return tags_.size() == 1;
}

void QueueState::wake() {
  // A full socket is readable already; nothing else can go wrong while both ends are ours.
  const char byte = 0;
  [[maybe_unused]] const auto sent = ::send(writer_.get(), &byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

std::size_t QueueState::next(std::uint64_t* tags, std::size_t capacity) {
  std::lock_guard lock(mutex_);
  const std::size_t count = std::min(capacity, tags_.size());
  std::copy_n(tags_.begin(), count, tags);
  tags_.erase(tags_.begin(), tags_.begin() + static_cast<std::ptrdiff_t>(count));
  return count;
}

}  // namespace sandbox::c

using namespace sandbox;
using namespace sandbox::c;

sbx_code sbx_queue_new(sbx_queue** queue, sbx_error** err) {
  return guard(err, queue, []() -> Result<std::unique_ptr<sbx_queue>> {
    before_first_use();
    SANDBOX_TRY(auto state, QueueState::open());
    return std::make_unique<sbx_queue>(std::move(state));
  });
}

int sbx_queue_fd(const sbx_queue* queue) { return queue && !stranded() ? queue->state->fd() : -1; }
size_t sbx_queue_next(sbx_queue* queue, uint64_t* tags, size_t capacity) {
  return queue && tags && !stranded() ? queue->state->next(tags, capacity) : 0;
}
void sbx_queue_free(sbx_queue** queue) { free_handle(queue); }
