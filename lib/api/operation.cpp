#include "api/operation.hpp"
#include "core/sync_point.hpp"

namespace sandbox::api {

Result<void> may_block(driver::Box& box) {
  if (box.link()->on_reactor_thread()) {
    return Error(ErrorCode::failed_precondition, "a blocking call on the runtime's thread would wait for itself; use the async_ form");
  }
  return box.usable();
}

Result<void> run(driver::Box& box, Call& call) {
  SANDBOX_CHECK(may_block(box));
  SANDBOX_SYNC_POINT("call.before_open");
  link::Link& link = *box.link();
  link.with([&](session::Session& session) { call.open(session); });
  SANDBOX_SYNC_POINT("call.opened");
  const auto patience = call.patience();
  const auto deadline = patience.count() > 0 ? core::SteadyClock::now() + patience : core::TimePoint::max();
  auto finished = link.wait_until([&] { return call.finished(); }, deadline);
  SANDBOX_SYNC_POINT("call.answered");
  if (finished && *finished) return {};
  // The handler is about to go: the stream must forget it first.
  link.with([&](session::Session&) { call.abandon(); });
  if (!finished) return std::move(finished).error();
  return Error(ErrorCode::unavailable, "the agent did not answer in time").with_operation("api.run");
}

}  // namespace sandbox::api
