#include <sandbox/asio.hpp>
#include <sandbox/runtime.hpp>

#include "runtime/runtime_state.hpp"

namespace sandbox {
namespace {

Error moved_from() { return Error(ErrorCode::failed_precondition, "this Runtime was moved from"); }

}  // namespace

Result<Runtime> Runtime::open(RuntimeOptions options) {
  SANDBOX_TRY(std::shared_ptr<RuntimeState> state, RuntimeState::open(std::move(options)));
  return Runtime(std::move(state));
}

Runtime::Runtime(Runtime&&) noexcept = default;
Runtime& Runtime::operator=(Runtime&& other) noexcept {
  if (this != &other) {
    if (state_) state_->close().ignore("the handle is replaced");
    state_ = std::move(other.state_);
  }
  return *this;
}
Runtime::~Runtime() {
  if (state_) state_->close().ignore("the handle is gone");
}

Result<Sandbox> Runtime::create() {
  if (!state_) return moved_from();
  SANDBOX_TRY(std::shared_ptr<driver::Box> box, state_->create());
  return Sandbox(std::move(box));
}

Result<Sandbox> Runtime::create(const SandboxSpec& spec, CreateOptions options) {
  if (!state_) return moved_from();
  SANDBOX_TRY(std::shared_ptr<driver::Box> box, state_->create(spec, options));
  return Sandbox(std::move(box));
}

Result<void> Runtime::wait_warm(std::chrono::milliseconds timeout) {
  if (!state_) return moved_from();
  return state_->wait_warm(core::SteadyClock::now() + timeout);
}

Result<void> Runtime::set_warm(const SandboxSpec& spec, std::uint32_t count) {
  if (!state_) return moved_from();
  return state_->set_warm(spec, count);
}

std::vector<PoolStats> Runtime::pools() const { return state_ ? state_->pools() : std::vector<PoolStats>(); }
std::size_t Runtime::live() const { return state_ ? state_->live() : 0; }

Result<std::vector<TemplateInfo>> Runtime::templates() const {
  if (!state_) return moved_from();
  return state_->store().templates();
}

Result<TemplateInfo> Runtime::find_template(const std::string& id) const {
  if (!state_) return moved_from();
  return state_->store().find_template(id);
}

Result<void> Runtime::remove_template(const std::string& id) {
  if (!state_) return moved_from();
  return state_->remove_template(id);
}

Result<std::vector<PrunedLayer>> Runtime::prune(const PruneOptions& options) {
  if (!state_) return moved_from();
  return state_->prune(options);
}

Result<HostReport> Runtime::host() const {
  if (!state_) return moved_from();
  return state_->host();
}

Adoption Runtime::adopted() {
  Adoption adoption;
  if (!state_) return adoption;
  auto taken = state_->take_adopted();
  for (auto& one : taken.boxes) adoption.sandboxes.emplace_back(std::move(one.box));
  adoption.lost = std::move(taken.lost);
  return adoption;
}

Result<void> Runtime::leave() {
  if (!state_) return moved_from();
  return state_->leave();
}

Result<void> Runtime::close() {
  if (!state_) return {};
  return state_->close();
}

}  // namespace sandbox

namespace sandbox::detail {

boost::asio::any_io_executor executor_of(RuntimeState& state) { return state.reactor().context().get_executor(); }

Canceller start_create(const std::shared_ptr<RuntimeState>& state, SandboxSpec spec, CreateOptions options, Completion<Sandbox> completion) {
  auto kept = std::make_shared<Completion<Sandbox>>(std::move(completion));
  return state->async_create(std::move(spec), options, [kept](Result<std::shared_ptr<driver::Box>> box) {
    if (box) (*kept)(Sandbox(std::move(*box)));
    else (*kept)(std::move(box).error());
  });
}

}  // namespace sandbox::detail
