#include <algorithm>
#include <utility>

#include "core/sync_point.hpp"
#include "server/birth.hpp"
#include "server/core.hpp"
#include "server/on_reactor.hpp"

/// What the store is told, and what a daemon that starts again makes of it.
namespace sandbox::server {
namespace {

/// Letters of StoredSandbox::extra.
constexpr char kAttached = 'a';     ///< somebody has a session with it
constexpr char kHadV1 = 'v';        ///< a v1 client was here
constexpr char kKeepTunnels = 't';

bool has(const std::string& extra, char letter) { return extra.find(letter) != std::string::npos; }

}  // namespace

void Core::persist(const Record& record) {
  if (record.gone) return;
  StoredSandbox stored;
  stored.id = record.id;
  stored.identity = record.owner;
  stored.profile = record.profile;
  stored.template_id = record.template_id;
  stored.image = record.image;
  stored.labels = record.labels;
  stored.ttl = record.life.ttl();
  stored.created = record.created;
  stored.state = record.state();
  if (record.life.disconnected()) {
    stored.disconnected_at = record.life.disconnected_at();
    const auto left = record.life.deadline() - core::SteadyClock::now();
    stored.expires_at = std::chrono::system_clock::now() + std::chrono::duration_cast<std::chrono::system_clock::duration>(left);
  }
  const Limits& limits = record.box->spec().limits();
  stored.memory = limits.memory().bytes();
  stored.cpus = limits.cpus();
  for (const auto& [port, tunnel] : record.tunnels)
    if (tunnel.relay) stored.tunnels.push_back({port, tunnel.port.host_port});
  if (record.life.sessions() > 0) stored.extra += kAttached;
  if (record.life.had_v1()) stored.extra += kHadV1;
  if (record.life.keep_tunnels()) stored.extra += kKeepTunnels;
  leaves_.store->put(std::move(stored));
}

void Core::persist(const SavedTemplate& saved) {
  StoredTemplate stored;
  stored.id = saved.info.id;
  stored.identity = saved.info.identity;
  stored.label = saved.info.label;
  stored.image = saved.info.image.to_string();
  stored.backend = saved.info.backend;
  stored.size = saved.info.size.bytes();
  stored.created = saved.info.created;
  stored.last_used = saved.info.last_used;
  stored.memory = saved.info.limits.memory().bytes();
  stored.cpus = saved.info.limits.cpus();
  stored.extra = rest::write(saved.spec);
  leaves_.store->put(std::move(stored));
}

Result<void> Core::recover() {
  SANDBOX_TRY(auto saved, leaves_.store->templates());
  SANDBOX_TRY(auto stored, leaves_.store->sandboxes());
  std::map<std::string, SavedTemplate> templates;
  for (StoredTemplate& one : saved) {
    auto known = recall_template(one);
    if (known) {
      templates.emplace(one.id, *std::move(known));
      continue;
    }
    leaves_.log->warning("template lost", {{"template", one.id}, {"error", known.error().to_string()}});
    leaves_.store->erase_template(one.id);
  }
  SANDBOX_SYNC_POINT("server.recovering");
  RuntimeState::Adopted adopted = runtime_->take_adopted();
  on_reactor(context(), [&] {
    templates_ = std::move(templates);
    recall_sandboxes(std::move(stored), std::move(adopted));
  });
  return {};
}

Result<Core::SavedTemplate> Core::recall_template(const StoredTemplate& stored) {
  SavedTemplate saved;
  SANDBOX_TRY(saved.spec, rest::read_spec(stored.extra));
  SANDBOX_TRY(static_cast<TemplateInfo&>(saved.info), runtime_->store().find_template(saved.content()));
  saved.info.id = stored.id;
  saved.info.label = stored.label;
  saved.info.backend = stored.backend;
  saved.info.identity = stored.identity;
  saved.info.created = stored.created;
  saved.info.last_used = stored.last_used;
  return saved;
}

/// The launchers know which sandboxes live; the store, whose they are and for how long. Of one that the store has not heard
/// of the launcher's note says it.
void Core::recall_sandboxes(std::vector<StoredSandbox> stored, RuntimeState::Adopted adopted) {
  std::map<std::string, StoredSandbox> known;
  for (StoredSandbox& one : stored) {
    // By the box's own name, which has no node in it: the node may have been renamed.
    std::string id = "sbx-" + one.id.substr(one.id.rfind('-') + 1);
    known.emplace(std::move(id), std::move(one));
  }
  const std::size_t boxes = adopted.boxes.size();
  for (auto& one : adopted.boxes) {
    const auto found = known.find(one.box->id());
    if (found != known.end()) {
      recall(std::move(one.box), found->second);
      known.erase(found);
    } else {
      recall_unknown(std::move(one));
    }
  }
  SANDBOX_SYNC_POINT("server.recalled");
  std::map<std::string, std::string> reasons;
  for (const LostSandbox& one : adopted.lost) reasons.emplace(one.id, one.reason);
  for (const auto& [id, one] : known) {
    Record gone(one.ttl, settings_.resume_grace);
    gone.id = one.id;
    gone.owner = one.identity;
    const auto reason = reasons.find(id);
    rest::JsonWriter data;
    data.begin_object().member("reason", reason != reasons.end() ? reason->second : "it did not outlive the restart").end_object();
    publish("sandbox.lost", gone, std::move(data).take());
    publish("sandbox.destroyed", gone, {});
    leaves_.store->erase_sandbox(one.id);
  }
  if (boxes + known.size() > 0) leaves_.log->info("took over", {{"sandboxes", boxes}, {"lost", known.size()}});
}

RecordPtr Core::record_of(std::shared_ptr<driver::Box> box, StoredSandbox stored) const {
  auto record = std::make_shared<Record>(stored.ttl, settings_.resume_grace);
  record->box = std::move(box);
  record->id = std::move(stored.id);
  record->owner = std::move(stored.identity);
  record->image = std::move(stored.image);
  record->profile = std::move(stored.profile);
  record->template_id = std::move(stored.template_id);
  record->labels = std::move(stored.labels);
  record->created = stored.created;
  return record;
}

void Core::recall(std::shared_ptr<driver::Box> box, const StoredSandbox& stored) {
  const core::TimePoint now = core::SteadyClock::now();
  const WallTime wall = std::chrono::system_clock::now();
  const RecordPtr record = record_of(std::move(box), stored);
  record->place = quota_.adopt(stored.identity, stored.memory, stored.cpus);
  // A frozen one says so; the store may be some milliseconds behind.
  if (auto usable = record->box->usable(); !usable) {
    record->paused = usable.error().code() == ErrorCode::failed_precondition;
    usable.ignore("told by its state");
  }
  const bool had_v1 = has(stored.extra, kHadV1);
  if (stored.expires_at) {
    const auto left = std::chrono::duration_cast<core::Duration>(*stored.expires_at - wall);
    record->life.restore(true, stored.disconnected_at.value_or(wall), now + left, has(stored.extra, kKeepTunnels), had_v1);
  } else if (has(stored.extra, kAttached)) {
    // Our death cut its sessions off: the client may come back.
    record->life.restore(true, wall, now + std::max<core::Duration>(stored.ttl, settings_.resume_grace), true, had_v1);
  } else {
    record->life.restore(false, {}, now, false, had_v1);
  }
  records_.emplace(record->id, record);
  if (record->life.disconnected()) reaper_.set(record->id, record->life.deadline());
  for (const StoredTunnel& tunnel : stored.tunnels) {
    auto opened = open_tunnel(record, tunnel.port, tunnel.host_port);
    if (!opened) leaves_.log->warning("tunnel not reopened", {{"sandbox", record->id}, {"host_port", tunnel.host_port}, {"error", opened.error().to_string()}});
  }
  persist(*record);
}

/// Made in the last moments before our death: the store had not heard of it. Whoever asked for it may have its id, so it is
/// as if the store had. Nothing tells one that nobody was told of: its owner finds it in the list.
void Core::recall_unknown(RuntimeState::Adopted::One found) {
  auto birth = decode_birth(found.note);
  if (!birth) {  // of another program that used this directory
    leaves_.log->warning("unknown sandbox", {{"sandbox", found.box->id()}, {"error", birth.error().to_string()}});
    const bool posted = workers_.post([box = std::move(found.box)] { box->close().ignore("the runtime sweeps what it could not remove"); });
    static_cast<void>(posted);
    return;
  }
  StoredSandbox& record = birth->record;
  record.id = public_id(found.box->id(), birth->node);
  record.memory = found.box->spec().limits().memory().bytes();
  record.cpus = found.box->spec().limits().cpus();
  recall(std::move(found.box), record);
}

}  // namespace sandbox::server
