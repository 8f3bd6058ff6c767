#include "server/record.hpp"

namespace sandbox::server {

SandboxInfo Record::info() const {
  SandboxInfo info;
  info.id = id;
  info.image = image;
  info.state = state();
  info.created = created;
  info.ttl = life.ttl();
  info.profile = profile;
  info.template_id = template_id;
  info.labels = labels;
  info.spec = box->spec();
  info.spec->user({});  // keeps pools apart; the owner is who asks
  // The runtime names templates by their content, the service by its own ids.
  if (!template_id.empty()) info.spec->image(Image::from_template(template_id));
  info.unenforced = box->unenforced();
  return info;
}

}  // namespace sandbox::server
