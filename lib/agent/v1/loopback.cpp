#include "agent/v1/loopback.hpp"

namespace sandbox::agent::v1 {
namespace {

session::Options client_options() {
  session::Options options;
  options.software = "v1";
  options.window = Loopback::kWindow;
  return options;
}

}  // namespace

Loopback::Loopback(Agent& agent)
    : agent_(agent),
      server_(agent, session_options(),
              [this](ByteView bytes) {
                moved_ = true;
                client_.receive(bytes).ignore("only a defect of ours breaks this session; its handlers were told");
                return bytes.size();
              },
              Server::kMaxDepth),
      client_(session::Role::client, client_options(), *this) {
  run_first();
}

Loopback::~Loopback() { agent_.loop().remove_hook(hook_); }

void Loopback::run_first() {
  if (hook_) agent_.loop().remove_hook(hook_);
  hook_ = agent_.loop().before_sleep([this] { pump(); });
}

void Loopback::pump() {
  do {
    moved_ = false;
    for (ByteView bytes = client_.output(); !bytes.empty(); bytes = client_.output()) {
      moved_ = true;
      server_.receive(bytes).ignore("the server ended its session, which the next lines tell the client's end");
      client_.sent(bytes.size());
    }
    server_.flush();
  } while (moved_);
}

}  // namespace sandbox::agent::v1
