// What a connection that says nothing costs the daemon.
#include <algorithm>
#include <poll.h>
#include <stdexcept>
#include <sys/resource.h>
#include <thread>
#include <vector>

#include "session/session.hpp"

#include "../scenario.hpp"
#include "daemon_process.hpp"

namespace bench {

namespace {

/// The hello of a client of v2, as its bytes travel.
std::string client_hello() {
  sandbox::session::SessionHandler handler;
  sandbox::session::Options options;
  options.software = "sandbox-bench";
  options.resumable = true;
  sandbox::session::Session session(sandbox::session::Role::client, std::move(options), handler);
  const auto bytes = session.output();
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

std::vector<std::string> create_sandboxes(const Daemon& daemon, std::size_t count) {
  std::vector<std::string> ids;
  auto connection = daemon.connect();
  for (std::size_t i = 0; i < count; ++i) {
    const auto made = connection.request("POST", "/sandboxes", R"({"ttl":600})").value();
    if (made.status != 201) throw std::runtime_error("create answered " + std::to_string(made.status) + " " + made.body);
    ids.push_back(json_value(made.body, "id"));
  }
  return ids;
}

/// Opens a WebSocket and waits until the session behind it has spoken, so that everything it needs exists.
RawConnection open_session(const Daemon& daemon, const std::string& id, bool v2, const std::string& first) {
  auto connection = daemon.connect();
  connection.upgrade("/sandboxes/" + id + "/ws", v2 ? "sandbox.v2" : "").value();
  connection.write(websocket_message(v2 ? 2 : 1, first)).value();
  if (connection.read_some(std::chrono::seconds(10)).value().empty()) throw std::runtime_error("the session ended at once");
  return connection;
}

struct Cost {
  double kib_each = 0;
  std::size_t lost = 0;
};

/// `count` sessions, spread over `ids`.
Cost measure(const Daemon& daemon, const std::vector<std::string>& ids, std::size_t count, bool v2) {
  const std::string first = v2 ? client_hello() : R"({"jsonrpc":"2.0","id":1,"method":"env.list"})";
  std::vector<RawConnection> held;
  held.reserve(count);
  // One on each sandbox first: what belongs to the sandbox and not to the session is there before we look.
  for (const auto& id : ids) held.push_back(open_session(daemon, id, v2, first));
  if (v2) {
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
  } else {
    // v1 has one session per sandbox, so there the first is what is measured.
    held.clear();
    std::this_thread::sleep_for(std::chrono::seconds(1));
  }
  const double before = daemon.view().pss_kib;
  const std::size_t already = held.size();
  for (std::size_t i = 0; held.size() < already + count; ++i) held.push_back(open_session(daemon, ids[i % ids.size()], v2, first));
  std::this_thread::sleep_for(std::chrono::seconds(1));
  Cost cost;
  cost.kib_each = (daemon.view().pss_kib - before) / static_cast<double>(count);
  for (auto& connection : held) {
    pollfd polled{connection.fd(), POLLRDHUP, 0};
    cost.lost += ::poll(&polled, 1, 0) > 0;
  }
  return cost;
}

}  // namespace

std::vector<Result> daemon_idle_ws(Config& config) {
  const std::size_t count = config.quick ? 2000 : 10'000, sandboxes = config.quick ? 40 : 200;
  // The daemon starts with the limit it would have anyway, and raises it itself.
  Daemon daemon({.warm = 0});
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  const rlimit before = files;
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
  if (files.rlim_cur < count + 1000) throw std::runtime_error("RLIMIT_NOFILE allows only " + std::to_string(files.rlim_cur) + " files");
  const auto ids = create_sandboxes(daemon, sandboxes);
  const Cost old = measure(daemon, ids, ids.size(), false);
  const Cost v2 = measure(daemon, ids, count, true);
  ::setrlimit(RLIMIT_NOFILE, &before);

  Samples ours, other;
  ours.add(v2.kib_each);
  other.add(old.kib_each);
  auto result = summarise("daemon_idle_ws", "KiB", ours, other);
  result.bar = "<= 20, none lost";
  result.pass = v2.kib_each > 0 && v2.kib_each <= 20 && old.kib_each <= 20 && v2.lost + old.lost == 0;
  result.samples = count;
  result.method = "growth of the daemon's Pss by " + std::to_string(count) + " WebSockets with a v2 session each, hellos said, on " +
                  std::to_string(sandboxes) + " sandboxes, divided by their number; lost " + std::to_string(v2.lost + old.lost) +
                  "; in the floor's column: the same of " + std::to_string(ids.size()) + " v1 sessions, one per sandbox";
  return {result};
}

}  // namespace bench
