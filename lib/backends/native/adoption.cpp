#include "backends/native/adoption.hpp"

#include "backends/native/instance.hpp"
#include "core/sync_point.hpp"

namespace sandbox::native {

Record Record::of(const Expectation& expected, std::string_view above) {
  Record record;
  record.unenforced = expected.unenforced;
  record.mounts = expected.mounts;
  record.writable_root = expected.writable_root;
  record.bridge = expected.bridge;
  record.benchmark_without_network_namespace = expected.benchmark_without_network_namespace;
  record.memory = expected.memory;
  record.above = above;
  record.holds_layers = expected.holds_layers;
  return record;
}

std::shared_ptr<const Expectation> Record::expectation() const {
  auto expected = std::make_shared<Expectation>();
  expected->unenforced = unenforced;
  expected->mounts = mounts;
  expected->writable_root = writable_root;
  expected->bridge = bridge;
  expected->benchmark_without_network_namespace = benchmark_without_network_namespace;
  expected->memory = memory;
  expected->holds_layers = holds_layers;
  return expected;
}

namespace {

std::string encoded_target(std::uint64_t id) {
  launch::Target target;
  target.id = id;
  return protocol::encode(target);
}

Result<std::unique_ptr<backend::Instance>> adopt_one(const std::shared_ptr<Launcher>& launcher, const launch::Adoptable& entry,
                                                     const Record& record, core::TimePoint deadline) {
  SANDBOX_SYNC_POINT("native.before_adopt");
  SANDBOX_TRY(auto answer, launcher->call(launch::Kind::adopt, encoded_target(entry.id), deadline));
  SANDBOX_SYNC_POINT("native.adopted");
  if (answer.fds.size() != 2) return Error(ErrorCode::protocol, "the launcher's answer lacks descriptors").with_operation("native.launcher");
  return std::unique_ptr<backend::Instance>(
      std::make_unique<NativeInstance>(launcher, record.expectation(), entry.id, std::move(answer.fds[0]), std::move(answer.fds[1]),
                                       core::SteadyClock::now() - std::chrono::milliseconds(entry.age_ms), entry.frozen));
}

}  // namespace

Result<void> adopt_from(const std::shared_ptr<Launcher>& launcher, core::TimePoint deadline, std::vector<backend::Found>& found) {
  launch::List page;
  for (bool more = true; more;) {
    SANDBOX_TRY(auto answer, launcher->call(launch::Kind::list, protocol::encode(page), deadline));
    SANDBOX_TRY(auto listed, protocol::decode<launch::Listed>(as_bytes(answer.body)));
    more = listed.more && !listed.sandboxes.empty();
    for (const launch::Adoptable& entry : listed.sandboxes) {
      if (entry.id <= page.after) return Error(ErrorCode::protocol, "the launcher lists in circles").with_operation("native.adopt");
      page.after = entry.id;
      backend::Found& here = found.emplace_back();
      auto record = protocol::decode<Record>(as_bytes(entry.record));
      if (!record) {
        here.lost = "its record cannot be read: " + record.error().to_string();
        launcher->tell(launch::Kind::destroy, encoded_target(entry.id));
        continue;
      }
      here.record = record->above;
      here.paused = entry.frozen;
      if (entry.ended) {
        here.lost = describe(entry.outcome);
        launcher->tell(launch::Kind::destroy, encoded_target(entry.id));
        continue;
      }
      auto instance = adopt_one(launcher, entry, *record, deadline);
      if (instance) {
        here.instance = *std::move(instance);
      } else {
        here.lost = instance.error().to_string();
        launcher->tell(launch::Kind::destroy, encoded_target(entry.id));
      }
    }
  }
  return {};
}

}  // namespace sandbox::native
