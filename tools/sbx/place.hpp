#pragma once

#include <optional>
#include <string>

#include <sandbox/client.hpp>
#include <sandbox/runtime.hpp>

#include "command.hpp"
#include "run_plan.hpp"

namespace sbx {

/// Where `run` gets its sandbox: a daemon when one is named or answers, otherwise a runtime of this process.
class Place {
 public:
  /// An image of this host's directories goes to this process unless a daemon was named.
  /// Errors: of the connection when a daemon was named; of Runtime::open.
  static sandbox::Result<Place> find(const Common& common, const RunPlan& plan);
  sandbox::Result<sandbox::Sandbox> create(const RunPlan& plan);
  sandbox::Result<void> close();
  /// "" for this process, otherwise the daemon's endpoint.
  const std::string& endpoint() const noexcept { return endpoint_; }

 private:
  std::optional<sandbox::Client> client_;
  std::optional<sandbox::Runtime> runtime_;
  std::string endpoint_;
};

}  // namespace sbx
