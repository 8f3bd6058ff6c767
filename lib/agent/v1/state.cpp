#include "agent/v1/state.hpp"

#include <time.h>

#include <utility>

#include "agent/v1/files.hpp"
#include "agent/v1/params.hpp"
#include "agent/v1/text.hpp"
#include "agent/v1/transfers.hpp"

namespace sandbox::agent::v1 {
namespace {

constexpr std::size_t kMaxVariables = 4096;
constexpr std::size_t kMaxVariableBytes = 1 << 20;

std::int64_t unix_now() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return now.tv_sec;
}

// ---- env.*: a store of its own, which programs never see --------------------------------------------------------------

void env_get(State& state, const Request& request) {
  Params params(request.params);
  const auto key = params.text("key");
  if (!params.error().empty()) return state.refuse(request.caller, params.error());
  if (key.empty()) return state.refuse(request.caller, "key is required");
  const auto found = state.environment().find(key);
  std::string result = "null";
  if (found != state.environment().end()) result.clear(), json::append_string(result, found->second);
  state.answer(request.caller, std::move(result));
}

void env_set(State& state, const Request& request) {
  Params params(request.params);
  auto key = params.text("key"), value = params.text("value");
  if (!params.error().empty()) return state.refuse(request.caller, params.error());
  if (key.empty()) return state.refuse(request.caller, "key is required");
  auto& store = state.environment();
  std::size_t bytes = key.size() + value.size();
  for (const auto& [name, text] : store) bytes += name == key ? 0 : name.size() + text.size();
  if ((store.size() >= kMaxVariables && !store.contains(key)) || bytes > kMaxVariableBytes)
    return state.refuse(request.caller, "too many or too large variables");
  store.insert_or_assign(std::move(key), std::move(value));
  state.answer(request.caller, "{}");
}

void env_delete(State& state, const Request& request) {
  Params params(request.params);
  const auto key = params.text("key");
  if (!params.error().empty()) return state.refuse(request.caller, params.error());
  if (key.empty()) return state.refuse(request.caller, "key is required");
  state.environment().erase(key);
  state.answer(request.caller, "{}");
}

void env_list(State& state, const Request& request) {
  std::string all = "{";
  for (const auto& [name, value] : state.environment()) {
    if (all.size() > 1) all += ',';
    json::append_string(all, name);
    all += ':';
    json::append_string(all, value);
  }
  state.answer(request.caller, all + "}");
}

// ---- methods ----------------------------------------------------------------------------------------------------------

template <void (Programs::*Member)(const Request&)>
void program(State& state, const Request& request) {
  (state.programs().*Member)(request);
}

struct Method {
  const char* name;
  void (*run)(State&, const Request&);
};

constexpr Method kMethods[] = {
    {"process.exec", program<&Programs::exec>},
    {"process.stream", program<&Programs::stream>},
    {"process.spawn", program<&Programs::spawn>},
    {"process.pty", program<&Programs::pty>},
    {"process.resize", program<&Programs::resize>},
    {"process.signal", program<&Programs::signal>},
    {"process.stdin", program<&Programs::input>},
    {"fs.read", fs_read},
    {"fs.write", fs_write},
    {"fs.list", fs_list},
    {"fs.stat", fs_stat},
    {"fs.remove", fs_remove},
    {"fs.rename", fs_rename},
    {"fs.mkdir", fs_mkdir},
    {"fs.upload", fs_upload},
    {"fs.download", fs_download},
    {"net.fetch", [](State& state, const Request& request) { state.fetches().fetch(request); }},
    {"env.get", env_get},
    {"env.set", env_set},
    {"env.delete", env_delete},
    {"env.list", env_list},
};

}  // namespace

State::State(Agent& agent)
    : agent_(agent),
      paths_(Paths::from(agent.environment())),
      retired_(agent.loop()),
      loopback_(agent),
      programs_(*this),
      fetches_(*this) {}

State::~State() {
  if (attachment_) attachment_->replaced();
}

Connection& State::attach(Attachment& attachment, bool resumed, std::string sandbox) {
  if (attachment_) {
    Attachment& earlier = *attachment_;
    detach(earlier);
    earlier.replaced();
  }
  loopback_.run_first();
  sandbox_ = std::move(sandbox);
  attachment_ = &attachment;
  connection_ = std::make_unique<Connection>(*this, attachment, next_number_++);
  if (!resumed) {
    kept_ = {};
    undecided_ = false;
  } else {
    undecided_ = kept_secret_;
    if (!undecided_) announce(*connection_);
  }
  return *connection_;
}

void State::detach(Attachment& attachment) {
  if (attachment_ != &attachment) return;
  attachment_ = nullptr;
  kept_secret_ = connection_->encrypted() || (undecided_ && kept_secret_);
  undecided_ = false;
  detached_at_ = unix_now();
  auto unsent = connection_->take_unsent();
  // Not freed here: one of its members may be on the stack.
  retired_.add(std::move(connection_));
  for (auto& notice : unsent) keep(std::move(notice));
}

/// The client is told what it missed.
void State::announce(Connection& connection) {
  undecided_ = false;
  const std::int64_t now = unix_now();
  Notice resumed;
  resumed.method = "session.resumed";
  resumed.body = json::Object()
                     .number("buffered", static_cast<std::int64_t>(kept_.size()))
                     .text("disconnected_at", time_text(detached_at_ ? detached_at_ : now))
                     .text("reconnected_at", time_text(now))
                     .text("sandbox", sandbox_)
                     .number("truncated", static_cast<std::int64_t>(kept_.truncated()))
                     .take();
  auto missed = kept_.take();
  connection.notify_clear(std::move(resumed));
  for (auto& notice : missed) connection.notify(std::move(notice));
}

void State::dispatch(Connection& connection, Request request) {
  if (request.method == "session.negotiate_e2e") return negotiate(connection, request);
  if (undecided_) {
    kept_.drop();
    announce(connection);
  }
  for (const Method& method : kMethods)
    if (request.method == method.name) return method.run(*this, request);
  refuse(request.caller, "method not found: " + request.method, -32601);
}

void State::negotiate(Connection& connection, const Request& request) {
  Params params(request.params);
  const auto text = params.text("public_key");
  if (!params.error().empty()) return refuse(request.caller, params.error());
  const auto key = from_base64(text);
  if (!key) return refuse(request.caller, "decode client public key: illegal base64 data");
  if (key->size() != crypto::kKeySize) return refuse(request.caller, "parse client public key: invalid public key size");
  auto ours = crypto::KeyPair::generate();
  if (!ours) return refuse(request.caller, "e2e: " + ours.error().message());
  auto cipher = Cipher::agree(*ours, as_bytes(*key));
  if (!cipher) return refuse(request.caller, "parse client public key: " + cipher.error().message());
  connection.negotiated(request.caller, json::Object().text("public_key", base64(ours->public_key())).take(), *std::move(cipher));
  if (undecided_) announce(connection);
}

Connection* State::connection_of(const Caller& caller) noexcept {
  return connection_ && connection_->number() == caller.connection ? connection_.get() : nullptr;
}

void State::answer(const Caller& caller, std::string result) {
  if (Connection* connection = connection_of(caller)) connection->answer(caller, std::move(result));
}

void State::refuse(const Caller& caller, std::string_view text, int code) {
  if (Connection* connection = connection_of(caller)) connection->refuse(caller, code, text);
}

void State::hold(std::shared_ptr<void> job) {
  const void* key = job.get();
  jobs_.insert_or_assign(key, std::move(job));
}

void State::release(const void* job) {
  const auto found = jobs_.find(job);
  if (found == jobs_.end()) return;
  retired_.add(std::move(found->second));
  jobs_.erase(found);
}

void State::notify(Notice notice) {
  if (connection_ && !undecided_) return connection_->notify(std::move(notice));
  keep(std::move(notice));
}

void State::keep(Notice notice) {
  give_back(std::exchange(notice.credit, {}));
  if (notice.method != "session.resumed") kept_.add(std::move(notice));
}

void State::give_back(const Credit& credit) {
  if (credit.stream != 0) loopback().consumed(credit.stream, credit.channel, credit.bytes);
}

void State::terminal_input(std::string_view payload) {
  if (payload.size() < 4) return;
  std::uint32_t pid = 0;
  for (std::size_t i = 0; i < 4; ++i) pid = pid << 8 | static_cast<unsigned char>(payload[i]);
  programs_.terminal_input(pid, payload.substr(4));
}

}  // namespace sandbox::agent::v1
