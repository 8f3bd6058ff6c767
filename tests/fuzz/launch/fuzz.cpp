// What the launcher reads from its control socket, and the library from the launcher: a packet is a Request (byte 0 even) or a
// Reply (odd); its body is what its kind says. What decodes must encode to the same bytes again, and a plan that was validated
// keeps its promises.
#include <linux/filter.h>

#include <cstdlib>
#include <span>
#include <string>

#include "launch/plan.hpp"

namespace {

using namespace sandbox;
using namespace sandbox::launch;

[[noreturn]] void wrong() { std::abort(); }

template <class T>
std::optional<T> check(std::string_view in) {
  auto decoded = protocol::decode<T>(as_bytes(in));
  if (!decoded) {
    decoded.error().ignore("expected");
    return std::nullopt;
  }
  const std::string once = protocol::encode(*decoded);
  const auto again = protocol::decode<T>(as_bytes(once));
  if (!again || protocol::encode(*again) != once) wrong();
  return *std::move(decoded);
}

template <class T>
void check_valid(std::string_view in) {
  const auto decoded = check<T>(in);
  if (!decoded) return;
  if (const auto valid = validate(*decoded); !valid) valid.error().ignore("expected");
}

bool has_part(std::string_view path, std::string_view wanted) {
  while (!path.empty()) {
    const auto slash = path.find('/');
    if (path.substr(0, slash) == wanted) return true;
    if (slash == path.npos) return false;
    path.remove_prefix(slash + 1);
  }
  return false;
}

void check_plan(std::string_view in) {
  const auto plan = check<LaunchPlan>(in);
  if (!plan) return;
  if (const auto valid = validate(*plan); !valid) {
    if (valid.error().code() != ErrorCode::invalid_argument || valid.error().message().empty()) wrong();
    return;
  }
  // What the launcher relies on without looking again.
  if (plan->recipe == 0 || plan->tree.entries.size() > kMaxTreeEntries || plan->tree.layers.size() > kMaxLayers) wrong();
  for (const TreeEntry& entry : plan->tree.entries) {
    if (entry.path.empty() || entry.path.front() == '/' || has_part(entry.path, "..") || has_part(entry.path, ".") ||
        entry.path.find('\0') != std::string::npos || entry.mode > 0777 || !is_plain_relative(entry.path))
      wrong();
    if ((entry.kind == EntryKind::bind || entry.kind == EntryKind::copy) && (entry.source.empty() || entry.source.front() != '/')) wrong();
  }
  for (const std::string& layer : plan->tree.layers)
    if (layer.empty() || layer.front() != '/' || layer.find('\0') != std::string::npos) wrong();
  if (plan->filter.size() % sizeof(sock_filter) != 0 || plan->filter.size() / sizeof(sock_filter) > kMaxFilter) wrong();
  std::size_t environment = 0;
  for (const std::string& variable : plan->environment) {
    environment += variable.size();
    if (variable.find('=') == std::string::npos || variable.find('\0') != std::string::npos) wrong();
  }
  if (environment > kMaxEnvironment) wrong();
}

void check_request(std::string_view in) {
  const auto request = check<Request>(in);
  if (!request) return;
  const std::string& body = request->body;
  switch (request->kind) {
    case Kind::configure: check<Configure>(body); return;
    case Kind::prepare: check_plan(body); return;
    case Kind::drop: check<Drop>(body); return;
    case Kind::create: check<Create>(body); return;
    case Kind::connect:
    case Kind::listening: check<Port>(body); return;
    case Kind::persist: check_valid<Persist>(body); return;
    case Kind::commit: check_valid<Commit>(body); return;
    case Kind::list: check<List>(body); return;
    default: check<Target>(body); return;
  }
}

void check_reply(std::string_view in) {
  const auto reply = check<Reply>(in);
  if (!reply) return;
  if (reply->code != 0) {
    const Error error = error_of(*reply);
    if (failure(reply->number, error).code == 0) wrong();
    return;
  }
  check<Configured>(reply->body);
  check<Prepared>(reply->body);
  check<Created>(reply->body);
  check<Outcome>(reply->body);
  check<Stats>(reply->body);
  check<Listed>(reply->body);
  check<Writable>(reply->body);
  check<Listening>(reply->body);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view in = as_text(std::as_bytes(std::span(data + 1, size - 1)));
  if (data[0] == 2) check_plan(in);   // a plan by itself, so that its parts are near
  else if (data[0] % 2 == 0) check_request(in);
  else check_reply(in);
  return 0;
}
