#include <sandbox/key.hpp>
#include <sandbox/sandbox.hpp>

#include "api/arguments.hpp"
#include "api/operation.hpp"
#include "driver/box.hpp"

namespace sandbox {

Sandbox::Sandbox(std::shared_ptr<driver::Box> box) noexcept : box_(std::move(box)) {}
Sandbox::Sandbox(Sandbox&&) noexcept = default;
Sandbox& Sandbox::operator=(Sandbox&& other) noexcept {
  if (this != &other) {
    if (box_) box_->handle_gone();
    box_ = std::move(other.box_);
  }
  return *this;
}
// Views (Fs, RunningProcess) may keep the box alive; the sandbox itself ends with its handle.
Sandbox::~Sandbox() {
  if (box_) box_->handle_gone();
}

const std::string& Sandbox::id() const noexcept { return box_->id(); }
const SandboxSpec& Sandbox::spec() const noexcept { return box_->spec(); }
Fs Sandbox::fs() const { return Fs(box_); }
Process Sandbox::process() const { return Process(box_); }
Env Sandbox::env() const { return Env(box_); }
Net Sandbox::net() const { return Net(box_); }

Result<std::chrono::nanoseconds> Sandbox::ping(std::chrono::milliseconds timeout) {
  SANDBOX_CHECK(api::may_block(*box_));
  SANDBOX_TRY(const auto time, box_->link()->ping(core::SteadyClock::now() + timeout));
  return std::chrono::duration_cast<std::chrono::nanoseconds>(time);
}

Result<SandboxStats> Sandbox::stats() { return box_->stats(); }
Result<void> Sandbox::pause() { return box_->pause(); }
Result<void> Sandbox::resume() { return box_->resume(); }
Result<TemplateInfo> Sandbox::save_template(std::string label) { return box_->save_template(std::move(label)); }
const std::vector<std::string>& Sandbox::unenforced() const noexcept { return box_->unenforced(); }
Result<void> Sandbox::close() { return box_->close(); }
Result<void> Sandbox::detach() { return box_->detach(); }

Result<Fingerprint> Sandbox::agent_fingerprint(std::chrono::milliseconds timeout) {
  SANDBOX_CHECK(api::may_block(*box_));
  return box_->link()->fingerprint(core::SteadyClock::now() + timeout);
}
bool Sandbox::closed() const noexcept { return box_->closed(); }

Result<int> Net::connect(std::uint16_t port, std::chrono::milliseconds timeout) {
  if (port == 0) return api::bad_argument("port", "is 0");
  SANDBOX_CHECK(box_->usable());
  return box_->connect(port, timeout);
}

Result<ExposedPort> Net::expose(std::uint16_t port, std::uint16_t host_port, std::chrono::milliseconds timeout, std::stop_token stop) {
  if (port == 0) return api::bad_argument("port", "is 0");
  SANDBOX_CHECK(box_->usable());
  return box_->expose(port, host_port, timeout, stop);
}

Result<std::vector<ExposedPort>> Net::list() { return box_->exposed(); }

Result<void> Net::close(std::uint16_t port) {
  if (port == 0) return api::bad_argument("port", "is 0");
  return box_->unexpose(port);
}

}  // namespace sandbox
