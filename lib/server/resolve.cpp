#include <algorithm>
#include <utility>

#include "server/core.hpp"

/// From the body of POST /sandboxes to a spec.
namespace sandbox::server {

/// The single overrides of a request, as the specification has them: a memory or cpu that is out of bounds is ignored.
Result<void> Core::change(SandboxSpec& spec, const rest::CreateBody& body) const {
  Limits limits = spec.limits();
  if (body.memory) {
    auto size = rest::read_size(*body.memory);
    if (!size) size.ignore("an unreadable size counts as none");
    else if (size->bytes() > 0 && (settings_.max_memory == 0 || size->bytes() <= settings_.max_memory)) limits.memory(*size);
  }
  if (body.cpu && *body.cpu > 0 && (settings_.max_cpu <= 0 || *body.cpu <= settings_.max_cpu)) limits.cpus(*body.cpu);
  if (body.storage) {
    auto size = rest::read_size(*body.storage);
    if (!size || size->bytes() == 0) {
      if (!size) size.ignore("answered");
      return Error(ErrorCode::invalid_argument, "invalid storage");
    }
    limits.disk(*size);
  }
  spec.limits(limits);
  return {};
}

/// A spec in the client's own words, within what the configuration allows.
Result<SandboxSpec> Core::permitted(SandboxSpec spec, const Caller& caller) {
  const Image& image = spec.image();
  if (image.kind() == Image::Kind::template_id) {
    const auto found = templates_.find(image.reference());
    if (found == templates_.end() || !caller.may_see(found->second.info.identity))
      return Error(ErrorCode::not_found, "template not found");
    spec.image(Image::from_template(found->second.content()));
  } else if (image.kind() != Image::Kind::host && !settings_.allow_host_paths) {
    return Error(ErrorCode::permission_denied, "images by path are not allowed here (limits.allow_host_paths)");
  }
  const Limits& limits = spec.limits();
  if (settings_.max_memory > 0 && limits.memory().bytes() > settings_.max_memory)
    return Error(ErrorCode::invalid_argument, "memory exceeds the daemon's limit of " + std::to_string(settings_.max_memory) + " bytes");
  if (settings_.max_cpu > 0 && limits.cpus() > settings_.max_cpu)
    return Error(ErrorCode::invalid_argument, "cpus exceed the daemon's limit");
  // Sealing lies between client and agent inside the session; this link is the daemon's own.
  spec.sealed(false).user({});
  // The same but for the name of its pool: served from that.
  for (const ProfileSettings& profile : settings_.profiles) {
    SandboxSpec anonymous = profile.spec;
    if (anonymous.user({}) == spec) return profile.spec;
  }
  return spec;
}

Result<Resolved> Core::resolve(const rest::CreateBody& body, const Caller& caller) {
  Resolved resolved;
  std::string template_id = body.template_id.value_or("");
  if (body.spec) {
    if (body.spec->image().kind() == Image::Kind::template_id) template_id = body.spec->image().reference();
    SANDBOX_TRY(resolved.spec, permitted(*body.spec, caller));
    resolved.image = body.spec->image().to_string();
  } else if (!template_id.empty()) {
    const auto found = templates_.find(template_id);
    if (found == templates_.end() || !caller.may_see(found->second.info.identity))
      return Error(ErrorCode::not_found, "template not found");
    resolved.spec = found->second.spec;  // limits, network and backend as recorded: none is without limits here
    const std::string profile_name = body.profile.value_or("");
    if (!profile_name.empty()) {
      const ProfileSettings* profile = settings_.find(profile_name);
      if (profile == nullptr) return Error(ErrorCode::not_found, "profile not found");
      resolved.profile = profile_name;
      resolved.spec.limits(profile->spec.limits()).network(profile->spec.network());
    }
    resolved.image = "template:" + template_id;
  } else {
    resolved.profile = body.profile && !body.profile->empty() ? *body.profile : "default";
    const ProfileSettings* profile = settings_.find(resolved.profile);
    if (profile == nullptr) return Error(ErrorCode::not_found, "profile not found");
    resolved.spec = profile->spec;
    resolved.image = profile->info.image;
    // A template named by the configuration is one of the service's.
    if (profile->spec.image().kind() == Image::Kind::template_id) {
      const auto found = templates_.find(profile->spec.image().reference());
      if (found != templates_.end()) resolved.spec.image(Image::from_template(found->second.content()));
    }
  }
  if (!body.spec) SANDBOX_CHECK(change(resolved.spec, body));
  if (!template_id.empty()) {
    SavedTemplate& saved = templates_.at(template_id);
    saved.info.last_used = std::chrono::system_clock::now();
    persist(saved);
  }
  return resolved;
}

}  // namespace sandbox::server
