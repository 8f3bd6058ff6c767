#include "place.hpp"

#include <utility>

#include "connect.hpp"

namespace sbx {

using sandbox::Result;

Result<Place> Place::find(const Common& common, const RunPlan& plan) {
  Place place;
  if (!plan.names_host_path || names_daemon(common)) {
    SANDBOX_TRY(auto daemon, find_daemon(common));
    if (daemon) {
      place.endpoint_ = daemon->endpoint;
      place.client_.emplace(std::move(daemon->client));
      return place;
    }
  }
  if (!plan.request.profile().empty()) {
    return sandbox::Error(sandbox::ErrorCode::failed_precondition,
                          "--profile names a profile of a daemon, and none answers; write out the limits instead");
  }
  SANDBOX_TRY(auto runtime, sandbox::Runtime::open(sandbox::RuntimeOptions().launchers(1)));
  place.runtime_.emplace(std::move(runtime));
  return place;
}

Result<sandbox::Sandbox> Place::create(const RunPlan& plan) {
  return client_ ? client_->create(plan.request) : runtime_->create(plan.spec);
}

Result<void> Place::close() { return client_ ? client_->close() : runtime_->close(); }

}  // namespace sbx
