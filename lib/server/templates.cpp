#include <sys/random.h>

#include <algorithm>
#include <utility>

#include "core/text.hpp"
#include "core/sync_point.hpp"
#include "server/core.hpp"

/// Templates: what a sandbox wrote, kept under an id of the service. Equal contents are one in the runtime's store, whoever
/// saved them; here each save is an object of its own with an owner.
namespace sandbox::server {
namespace {

std::string new_template_id() {
  std::uint32_t random = 0;
  while (::getrandom(&random, sizeof random, 0) != sizeof random) {
  }
  return "tpl-" + core::to_hex(&random, sizeof random);
}

/// Text for the client, with the status of the answer.
Error refusal(unsigned status, ErrorCode code, std::string text) {
  return Error(code, std::move(text)).with_detail("status", std::to_string(status));
}

void answer_refusal(http::Exchange& exchange, const Error& error) {
  unsigned status = 500;
  for (const auto& [key, value] : error.details())
    if (key == "status") status = core::parse_number<unsigned>(value).value_or(500);
  Core::refuse(exchange, status, error.code(), error.message(), status == 429 ? 2 : 0);
}

}  // namespace

void Core::save_template_route(const ExchangePtr& exchange, const Caller& caller) {
  exchange->read_body(rest::kMaxBody, [weak = weak_from_this(), exchange, caller](Result<std::string> body) {
    const auto self = weak.lock();
    if (!self) return body.ignore("the service has ended");
    auto wish = body ? rest::read_template_body(*body) : Result<rest::TemplateBody>(std::move(body).error());
    if (!wish) {
      wish.ignore("answered");
      return refuse(*exchange, 400, ErrorCode::invalid_argument, "invalid request body");
    }
    if (wish->sandbox_id.empty()) return refuse(*exchange, 400, ErrorCode::invalid_argument, "sandbox_id is required");
    // Limits come before the sandbox is looked for.
    if (auto room = self->room_for_template(caller.identity, caller.max_templates); !room) return answer_refusal(*exchange, room.error());
    const RecordPtr record = self->need(*exchange, wish->sandbox_id, caller);
    if (!record) return;
    self->save_template(record, caller.identity, wish->label.value_or(""), caller.max_templates, [weak, exchange](Result<ServiceTemplate> saved) {
      if (!saved) return answer_refusal(*exchange, saved.error());
      if (const auto core = weak.lock()) core->answer(*exchange, 201, rest::write(*saved));
    });
  });
}

Result<void> Core::room_for_template(const std::string& identity, std::optional<std::uint32_t> most) const {
  std::size_t all = templates_.size(), own = 0;
  for (const auto& [owner, count] : saving_) {
    all += count;
    if (owner == identity) own += count;
  }
  for (const auto& [id, saved] : templates_) own += saved.info.identity == identity;
  if (all >= settings_.max_templates) return refusal(503, ErrorCode::resource_exhausted, "template limit reached");
  if (most && own >= *most) return refusal(429, ErrorCode::resource_exhausted, "identity template quota exceeded");
  return {};
}

void Core::save_template(const RecordPtr& record, const std::string& identity, const std::string& label,
                         std::optional<std::uint32_t> most, std::function<void(Result<ServiceTemplate>)> done) {
  if (auto room = room_for_template(identity, most); !room) return done(std::move(room).error());
  ++saving_[identity];
  const std::string id = new_template_id();
  // The label is this record's; the content in the runtime's store has nobody's.
  const bool posted = offload([box = record->box] { return box->save_template({}); }, [this, record, id, identity, label, done](Result<TemplateInfo> captured) {
    if (--saving_[identity] == 0) saving_.erase(identity);
    if (!captured) {
      leaves_.log->warning("template capture failed", {{"sandbox", record->id}, {"error", captured.error().to_string()}});
      return done(refusal(500, captured.error().code(), "template capture failed"));
    }
    if (settings_.max_template_size > 0 && captured->size.bytes() > settings_.max_template_size) {
      unused_content_.insert(captured->id);
      drop_unused_content();
      return done(refusal(400, ErrorCode::resource_exhausted, "template size " + std::to_string(captured->size.bytes()) + " exceeds limit"));
    }
    SANDBOX_SYNC_POINT("server.template_captured");
    SavedTemplate saved;
    static_cast<TemplateInfo&>(saved.info) = *captured;
    saved.spec = record->box ? record->box->spec() : SandboxSpec();
    saved.spec.image(Image::from_template(captured->id)).limits(captured->limits).writable_root(captured->writable_root).user({});
    saved.info.id = id;
    saved.info.label = label.empty() ? id : label;
    saved.info.backend = saved.spec.backend();
    saved.info.identity = identity;
    saved.info.created = std::chrono::system_clock::now();
    unused_content_.erase(captured->id);
    persist(saved);
    SANDBOX_SYNC_POINT("server.template_recorded");
    const ServiceTemplate info = saved.info;
    templates_.insert_or_assign(id, std::move(saved));
    // Told when it is kept for good: unlike a sandbox, a template has nobody but the store to speak for it after a kill.
    const bool keeping = offload([store = leaves_.store.get()] { return store->flush(); }, [this, info, done](Result<void> kept) {
      SANDBOX_SYNC_POINT("server.template_kept");
      if (kept) return done(info);
      leaves_.log->warning("template not kept", {{"template", info.id}, {"error", kept.error().to_string()}});
      forget_template(info.id);
      drop_unused_content();
      done(refusal(500, kept.error().code(), "template capture failed"));
    });
    if (keeping) return;
    forget_template(id);
    done(refusal(503, ErrorCode::unavailable, "shutting down"));
  });
  if (posted) return;
  if (--saving_[identity] == 0) saving_.erase(identity);
  done(refusal(503, ErrorCode::unavailable, "shutting down"));
}

void Core::list_templates(http::Exchange& exchange, const Caller& caller) {
  std::vector<ServiceTemplate> all;
  for (const auto& [id, saved] : templates_)
    if (caller.may_see(saved.info.identity)) all.push_back(saved.info);
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return std::tie(a.created, a.id) < std::tie(b.created, b.id); });
  answer(exchange, 200, rest::write(all));
}

void Core::get_template(http::Exchange& exchange, const std::string& id, const Caller& caller) {
  const auto found = templates_.find(id);
  if (found == templates_.end() || !caller.may_see(found->second.info.identity))
    return refuse(exchange, 404, ErrorCode::not_found, "template not found");
  answer(exchange, 200, rest::write(found->second.info));
}

void Core::delete_template_route(http::Exchange& exchange, const std::string& id, const Caller& caller) {
  const auto found = templates_.find(id);
  if (found == templates_.end() || !caller.may_see(found->second.info.identity))
    return refuse(exchange, 404, ErrorCode::not_found, "template not found");
  forget_template(id);
  drop_unused_content();
  exchange.respond(http::Response{204, {}, {}});
}

void Core::forget_template(const std::string& id) {
  const auto found = templates_.find(id);
  if (found == templates_.end()) return;
  const std::string content = found->second.content();
  templates_.erase(found);
  leaves_.store->erase_template(id);
  const bool shared = std::any_of(templates_.begin(), templates_.end(), [&](const auto& entry) { return entry.second.content() == content; });
  if (!shared) unused_content_.insert(content);
}

/// Removes what no template names; content that a sandbox still stands on stays until the next look.
void Core::drop_unused_content() {
  for (const std::string& content : unused_content_) {
    const bool posted = offload([runtime = runtime_, content] { return runtime->remove_template(content); }, [this, content](Result<void> removed) {
      if (removed || removed.error().code() == ErrorCode::not_found) unused_content_.erase(content);
      removed.ignore("in use: tried again when a sandbox ends");
    });
    if (!posted) return;
  }
}

void Core::expire_templates() {
  if (settings_.template_expiry == std::chrono::hours(0)) return;
  const WallTime limit = std::chrono::system_clock::now() - settings_.template_expiry;
  std::vector<std::string> old;
  for (const auto& [id, saved] : templates_)
    if (saved.info.last_used.value_or(saved.info.created) < limit) old.push_back(id);
  for (const std::string& id : old) {
    leaves_.log->info("template expired", {{"template", id}});
    forget_template(id);
  }
}

}  // namespace sandbox::server
