#pragma once

#include <deque>

#include <sandbox/fs.hpp>

#include "api/ongoing.hpp"

namespace sandbox {

/// Events of one watch that nobody took yet. All members: under the link's lock.
struct Watch::State final : api::Ongoing {
  /// Events kept; when more arrive, the newest are replaced by one `overflow`.
  static constexpr std::size_t kMaxEvents = 1 << 16;

  using Ongoing::Ongoing;
  static Result<std::shared_ptr<State>> start(const std::shared_ptr<driver::Box>& box, std::string path, bool recursive);
  static Result<Watch> open_watch(const std::shared_ptr<driver::Box>& box, std::string path, bool recursive);

  void on_message(ByteView message) override;
  std::optional<Result<void>> poll_ready();
  std::optional<Result<FileEvent>> poll_event();

  bool ready = false;
  std::deque<FileEvent> events;
};

}  // namespace sandbox
