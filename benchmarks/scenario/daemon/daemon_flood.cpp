// More creations than there is room for, and a daemon that dies.
#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <map>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <vector>

#include "../host_view.hpp"
#include "../scenario.hpp"
#include "daemon_process.hpp"

namespace bench {

namespace {

constexpr std::string_view kCreate = R"({"ttl":60})";

struct Flood {
  std::map<int, std::uint64_t> answers;
  std::uint64_t lost = 0;    ///< connections that broke or stayed silent
  std::string first_error;
  Samples created, refused;  ///< ms
};

/// `callers` connections create without pause for `time`; what they get they keep for 50 ms.
Flood flood(const Daemon& daemon, int callers, std::chrono::seconds time) {
  Flood flood;
  std::mutex mutex;
  const auto end = Clock::now() + time;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < callers; ++i) {
      threads.emplace_back([&] {
        Flood mine;
        const auto note = [&mine](const sandbox::Error& error) {
          ++mine.lost;
          if (mine.first_error.empty()) mine.first_error = error.to_string();
          else error.ignore("the first one is shown");
        };
        auto connection = RawConnection::open(daemon.socket());
        while (Clock::now() < end) {
          if (!connection) {
            note(connection.error());
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
            connection = RawConnection::open(daemon.socket());
            continue;
          }
          const auto begin = Clock::now();
          auto made = connection->request("POST", "/sandboxes", kCreate);
          if (!made) {
            note(made.error());
            connection = RawConnection::open(daemon.socket());
            continue;
          }
          ++mine.answers[made->status];
          (made->status == 201 ? mine.created : mine.refused).add(Clock::now() - begin, kMillisecond);
          if (made->status != 201) continue;
          std::this_thread::sleep_for(std::chrono::milliseconds(50));
          auto gone = connection->request("DELETE", "/sandboxes/" + json_value(made->body, "id"));
          if (!gone) note(gone.error());
          else if (gone->status != 204) ++mine.answers[gone->status];
        }
        if (!connection) connection.ignore("counted already");
        const std::scoped_lock lock(mutex);
        for (const auto& [status, count] : mine.answers) flood.answers[status] += count;
        flood.lost += mine.lost;
        if (flood.first_error.empty()) flood.first_error = mine.first_error;
        flood.created.append(mine.created);
        flood.refused.append(mine.refused);
      });
    }
  }
  return flood;
}

}  // namespace

std::vector<Result> daemon_create_flood(Config& config) {
  constexpr std::uint32_t kCapacity = 50;
  const int callers = 10 * kCapacity;
  Daemon daemon({.warm = 4, .max_sandboxes = kCapacity});
  // Everything that grows once has grown then.
  flood(daemon, callers, std::chrono::seconds(2));
  daemon.wait_for_sandboxes(0, std::chrono::seconds(30));
  daemon.wait_warm();
  std::this_thread::sleep_for(std::chrono::seconds(1));
  const DaemonView before = daemon.view();
  const std::size_t agents_before = agents().size();

  const Flood result = flood(daemon, callers, std::chrono::seconds(config.quick ? 5 : 60));
  const auto over = Clock::now();
  auto connection = daemon.connect();
  Samples recovery, none;
  for (;;) {
    const auto made = connection.request("POST", "/sandboxes", kCreate).value();
    if (made.status == 201) {
      recovery.add(Clock::now() - over, kMillisecond);
      connection.request("DELETE", "/sandboxes/" + json_value(made.body, "id")).value();
      break;
    }
    if (Clock::now() - over > std::chrono::seconds(30)) throw std::runtime_error("still no sandbox 30 s after the flood: " + made.body);
  }
  daemon.wait_for_sandboxes(0, std::chrono::seconds(30));
  daemon.wait_warm();
  std::this_thread::sleep_for(std::chrono::seconds(1));
  const DaemonView after = daemon.view();
  const std::size_t agents_after = agents().size();

  std::uint64_t answers = 0, others = 0;
  std::string counts;
  for (const auto& [status, count] : result.answers) {
    answers += count;
    if (status != 201 && status != 429 && status != 503) others += count;
    counts += (counts.empty() ? "" : ", ") + std::to_string(status) + ": " + std::to_string(count);
  }
  const double growth = after.pss_kib - before.pss_kib;
  const bool leak =
      after.sandboxes != 0 || agents_after > agents_before || after.descriptors > before.descriptors + 4 || growth > 4096;
  auto line = summarise("daemon_create_flood", "ms", recovery, none);
  line.bar = "recovery <= 1000; only 201, 429, 503; no leak";
  line.pass = line.p50 <= 1000 && others == 0 && result.lost == 0 && !leak;
  line.samples = answers;
  char text[400];
  std::snprintf(text, sizeof text,
                "; lost connections %llu%s%s; a 201 took p50 %.1f p99 %.1f ms, a refusal p50 %.1f p99 %.1f ms; before and after: "
                "Pss %.0f and %.0f KiB, descriptors %zu and %zu, agents %zu and %zu",
                static_cast<unsigned long long>(result.lost), result.first_error.empty() ? "" : ": ", result.first_error.c_str(),
                result.created.p50(), result.created.p99(), result.refused.p50(), result.refused.p99(), before.pss_kib, after.pss_kib,
                before.descriptors, after.descriptors, agents_before, agents_after);
  line.method = "recovery is from the flood's end to the next 201; " + std::to_string(callers) + " connections create without pause for " +
                (config.quick ? "5" : "60") + " s where " + std::to_string(kCapacity) + " sandboxes fit, each kept 50 ms; answers " + counts + text;
  return {line};
}

namespace {

/// One v1 session with `id`: sends a call, gives back its answer.
class OldSession {
 public:
  OldSession(const Daemon& daemon, const std::string& id) : connection_(daemon.connect()) {
    connection_.upgrade("/sandboxes/" + id + "/ws", "").value();
  }
  std::string call(std::string_view method, std::string_view params) {
    std::string text = R"({"jsonrpc":"2.0","id":1,"method":")";
    text.append(method).append(R"(","params":)").append(params).append("}");
    connection_.write(websocket_message(1, text)).value();
    // Answers here are short; notifications come before or between them.
    std::string seen;
    while (seen.find(R"("id":1)") == seen.npos) {
      const std::string more = connection_.read_some(std::chrono::seconds(20)).value();
      if (more.empty()) throw std::runtime_error("the session ended during " + std::string(method));
      seen += more;
    }
    return seen.substr(seen.find(R"("id":1)"));
  }

 private:
  RawConnection connection_;
};

}  // namespace

std::vector<Result> daemon_restart_500(Config& config) {
  const std::size_t count = config.quick ? 100 : 500;
  Daemon daemon({.warm = 0});
  std::vector<std::pair<std::string, std::string>> running;  // sandbox, pid inside
  auto connection = daemon.connect();
  for (std::size_t i = 0; i < count; ++i) {
    const auto made = connection.request("POST", "/sandboxes", R"({"ttl":600})").value();
    if (made.status != 201) throw std::runtime_error("create answered " + std::to_string(made.status) + " " + made.body);
    const std::string id = json_value(made.body, "id");
    OldSession session(daemon, id);
    running.emplace_back(id, json_value(session.call("process.spawn", R"({"command":"exec sleep 1000"})"), "pid"));
  }
  Samples adoption, first_exec;
  const int rounds = config.quick ? 2 : 5;
  std::size_t dead = 0;
  for (int round = 0; round < rounds; ++round) {
    daemon.kill();
    const auto begin = Clock::now();
    daemon.start();
    daemon.wait_for_sandboxes(count, std::chrono::seconds(60));
    adoption.add(Clock::now() - begin, kMillisecond);
    for (std::size_t i = static_cast<std::size_t>(round); i < count; i += 25) {
      const auto call = Clock::now();
      OldSession session(daemon, running[i].first);
      const auto answer = session.call("process.exec", R"({"command":"kill -0 )" + running[i].second + R"("})");
      first_exec.add(Clock::now() - call, kMillisecond);
      dead += json_value(answer, "exit_code") != "0";
    }
  }
  auto result = summarise("daemon_restart_500", "ms", adoption, first_exec);
  result.bar = "<= 1000 for 500, every process alive";
  result.pass = result.p50 <= 1000 && dead == 0;
  result.samples = static_cast<std::size_t>(rounds);
  result.method = "kill -9 of the daemon with " + std::to_string(count) +
                  " sandboxes, each with a running process; from exec of the next daemon until /health counts them all; processes found dead " + std::to_string(dead) + " of " + std::to_string(first_exec.size()) +
                  " asked; in the floor's column: a session with one of them and its first exec";
  return {result};
}

}  // namespace bench
