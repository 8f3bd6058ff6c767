#include <signal.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "client/signing.hpp"
#include "core/text.hpp"
#include "http/client.hpp"
#include "rest/rest.hpp"
#include "support/daemon_process.hpp"
#include "support/eventually.hpp"

// A creation that was answered is kept, whenever the daemon dies: the very moment behind the answer is tried here.
namespace sandbox::testing {
namespace {

using namespace std::chrono_literals;

constexpr int kRounds = 40;

/// Somebody with a connection: a tenant, or whoever has the socket.
class Caller {
 public:
  Caller(const std::string& socket, const Tenant* tenant)
      : tenant_(tenant), client_(http::Client::make(http::Endpoint::parse(socket).value()).value()) {}

  Result<http::Response> ask(const std::string& method, const std::string& path, std::string body = {}) {
    http::Request request;
    request.method = method;
    request.target = path;
    request.body = std::move(body);
    if (tenant_ != nullptr) {
      const auto now = std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch());
      request.headers = client::sign_request(*tenant_, method, path, now.count(), client::make_nonce().value());
    }
    return client_->request(request, core::SteadyClock::now() + 30s);
  }
  std::vector<SandboxInfo> list() { return rest::read_sandboxes(ask("GET", "/sandboxes").value().body).value(); }

 private:
  const Tenant* tenant_;
  std::unique_ptr<http::Client> client_;
};

struct Told {
  std::string id, label;
};

/// Creates until the daemon is gone; whoever has the `kill_at`th answer of all kills it at once.
std::vector<Told> create_until_killed(Caller caller, const std::string& name, const DaemonProcess& daemon, std::atomic<int>& answers, int kill_at) {
  std::vector<Told> told;
  for (int i = 0;; ++i) {
    const std::string label = name + std::to_string(i);
    const auto made = caller.ask("POST", "/sandboxes", R"({"ttl":1234,"labels":{"made":")" + label + R"("}})");
    const bool last = made && made->status == 201 && ++answers == kill_at;
    if (last) ::kill(daemon.pid(), SIGKILL);
    if (!made) {
      made.error().ignore("it was killed meanwhile");
      return told;
    }
    EXPECT_EQ(made->status, 201u) << made->body;
    if (made->status != 201) return told;
    told.push_back({rest::read_sandbox(made->body).value().id, label});
  }
}

void play(const DaemonProcess::Options& options, const std::vector<const Tenant*>& callers) {
  DaemonProcess daemon(options);
  for (int round = 0; round < kRounds; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    std::atomic<int> answers{0};
    std::vector<std::vector<Told>> told(callers.size());
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < callers.size(); ++i)
      threads.emplace_back([&, i] {
        told[i] = create_until_killed(Caller(daemon.socket(), callers[i]), std::string(1, static_cast<char>('a' + i)), daemon, answers, 1 + round % 5);
      });
    for (std::thread& thread : threads) thread.join();
    daemon.stop(SIGKILL);  // it is dead: this reaps it
    daemon.start();
    daemon.wait_ready();
    for (std::size_t i = 0; i < callers.size(); ++i) {
      Caller caller(daemon.socket(), callers[i]);
      const auto listed = caller.list();
      for (const Told& one : told[i]) {
        const auto found = std::find_if(listed.begin(), listed.end(), [&](const SandboxInfo& info) { return info.id == one.id; });
        ASSERT_NE(found, listed.end()) << one.id << " was answered to caller " << i << "\n" << daemon.log();
        EXPECT_EQ(found->state, SandboxState::running);
        EXPECT_EQ(found->ttl, 1234s);
        EXPECT_EQ(found->profile, "default");
        EXPECT_EQ(found->labels, (Labels{{"made", one.label}}));
        if (callers[i] != nullptr && callers.size() > 1) {
          Caller other(daemon.socket(), callers[(i + 1) % callers.size()]);
          EXPECT_EQ(other.ask("GET", "/sandboxes/" + one.id).value().status, 404u) << "another tenant's";
        }
      }
    }
    // Its own included that nobody was told of: made, and killed before the answer.
    for (const Tenant* tenant : callers) {
      Caller caller(daemon.socket(), tenant);
      for (const SandboxInfo& info : caller.list()) EXPECT_EQ(caller.ask("DELETE", "/sandboxes/" + info.id).value().status, 204u);
    }
  }
}

/// The id behind "id: " of a server-sent event; 0: none in it.
std::uint64_t id_in(const std::string& line) {
  return line.starts_with("id: ") ? core::parse_number<std::uint64_t>(line.substr(4)).value_or(0) : 0;
}

DaemonProcess::Options settings() {
  DaemonProcess::Options options;
  options.settings = "[pool]\nmin_base = 4\n[pool.base.default]\nimage = \"host\"\nmemory = \"64m\"\nstorage = \"16m\"\nnetwork = \"none\"\n";
  return options;
}

TEST(Durability, AnAnsweredCreationIsKeptWithWhatWasAskedFor) { play(settings(), {nullptr, nullptr}); }

TEST(Durability, AnAnsweredCreationIsKeptForItsTenant) {
  const SigningKey key = SigningKey::generate().value();
  const Tenant acme{"acme", key}, bolt{"bolt", key};
  DaemonProcess::Options options = settings();
  options.settings += "[multi_tenant]\nenabled = true\npublic_keys = [\"" + key.public_key() + "\"]\n";
  play(options, {&acme, &bolt});
}

TEST(Durability, ASavedTemplateIsKeptForItsTenant) {
  const SigningKey key = SigningKey::generate().value();
  const Tenant acme{"acme", key}, bolt{"bolt", key};
  DaemonProcess::Options options = settings();
  options.settings += "[multi_tenant]\nenabled = true\npublic_keys = [\"" + key.public_key() + "\"]\n";
  DaemonProcess daemon(options);
  std::vector<std::pair<std::string, std::string>> told;  // id, label
  for (int round = 0; round < 12; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    Caller caller(daemon.socket(), &acme);
    const auto made = caller.ask("POST", "/sandboxes", R"({"ttl":1234})");
    ASSERT_TRUE(made);
    ASSERT_EQ(made->status, 201u) << made->body;
    const std::string label = "round " + std::to_string(round);
    const auto saved = caller.ask("POST", "/templates", R"({"sandbox_id":")" + rest::read_sandbox(made->body).value().id + R"(","label":")" + label + R"("})");
    ::kill(daemon.pid(), SIGKILL);
    ASSERT_TRUE(saved);
    ASSERT_EQ(saved->status, 201u) << saved->body;
    told.emplace_back(rest::read_template(saved->body).value().id, label);
    daemon.stop(SIGKILL);  // it is dead: this reaps it
    daemon.start();
    daemon.wait_ready();
    const auto listed = rest::read_templates(Caller(daemon.socket(), &acme).ask("GET", "/templates").value().body).value();
    ASSERT_EQ(listed.size(), told.size()) << daemon.log();
    for (std::size_t i = 0; i < told.size(); ++i) {
      EXPECT_EQ(listed[i].id, told[i].first);
      EXPECT_EQ(listed[i].label, told[i].second);
      EXPECT_EQ(listed[i].identity, "acme");
      EXPECT_EQ(Caller(daemon.socket(), &bolt).ask("GET", "/templates/" + told[i].first).value().status, 404u) << "another tenant's";
    }
  }
  const auto from = Caller(daemon.socket(), &acme).ask("POST", "/sandboxes", R"({"template":")" + told.back().first + R"("})");
  EXPECT_EQ(from.value().status, 201u) << from.value().body;
}

TEST(Durability, NoEventIdIsToldTwice) {
  DaemonProcess daemon(settings());
  std::uint64_t highest = 0;
  for (int round = 0; round < 20; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    auto client = http::Client::make(http::Endpoint::parse(daemon.socket()).value()).value();
    http::Request request;
    request.target = "/events";
    auto feed = client->open_stream(request, core::SteadyClock::now() + 30s);
    ASSERT_TRUE(feed) << feed.error().to_string();
    std::thread creator([&] {
      const auto made = Caller(daemon.socket(), nullptr).ask("POST", "/sandboxes", R"({"ttl":1234})");
      made.ignore("the daemon may be killed before its answer");
    });
    std::string text;
    std::uint64_t told = 0;
    while (told == 0) {
      auto piece = (*feed)->read(core::SteadyClock::now() + 30s);
      if (!piece || piece->empty()) {
        ADD_FAILURE() << "no event: " << (piece ? "the end" : piece.error().to_string());
        break;
      }
      text += *piece;
      for (std::size_t end; (end = text.find('\n')) != std::string::npos; text.erase(0, end + 1)) told = std::max(told, id_in(text.substr(0, end)));
    }
    ::kill(daemon.pid(), SIGKILL);
    creator.join();
    EXPECT_GT(told, highest);
    highest = std::max(highest, told);
    daemon.stop(SIGKILL);  // it is dead: this reaps it
    daemon.start();
    daemon.wait_ready();
  }
  // Nothing is skipped where it ends tidily.
  Caller caller(daemon.socket(), nullptr);
  const auto made = caller.ask("POST", "/sandboxes", "{}");
  ASSERT_TRUE(made);
  const EventHistory before = rest::read_history(caller.ask("GET", "/events/history?after=" + std::to_string(highest)).value().body).value();
  ASSERT_FALSE(before.events.empty());
  EXPECT_GT(before.events.front().id, highest);
  daemon.stop(SIGTERM);
  daemon.start();
  daemon.wait_ready();
  // Its own end told of a few more.
  const EventHistory after = rest::read_history(Caller(daemon.socket(), nullptr).ask("GET", "/events/history?after=" + std::to_string(before.last)).value().body).value();
  EXPECT_GE(after.last, before.last);
  EXPECT_LT(after.last, before.last + 100) << "no block of ids is given up";
}

TEST(Durability, TheLargestRecordIsKept) {
  DaemonProcess daemon(settings());
  std::string labels, env;
  for (int i = 0; i < 64; ++i) {
    const std::string number = std::to_string(100 + i);
    labels += (i ? ",\"" : "\"") + number + std::string(125, 'k') + "\":\"" + std::string(256, 'v') + "\"";
  }
  for (int i = 0; i < 4000; ++i) env += (i ? ",\"E" : "\"E") + std::to_string(1000 + i) + "\":\"" + std::string(8, 'e') + "\"";
  Caller caller(daemon.socket(), nullptr);
  const auto made = caller.ask("POST", "/sandboxes", "{\"labels\":{" + labels + "},\"spec\":{\"env\":{" + env + "}}}");
  ::kill(daemon.pid(), SIGKILL);
  ASSERT_TRUE(made);
  ASSERT_EQ(made->status, 201u) << made->body.substr(0, 200);
  const SandboxInfo before = rest::read_sandbox(made->body).value();
  daemon.stop(SIGKILL);
  daemon.start();
  daemon.wait_ready();
  const auto listed = Caller(daemon.socket(), nullptr).list();
  ASSERT_EQ(listed.size(), 1u) << daemon.log();
  EXPECT_EQ(listed[0].id, before.id);
  EXPECT_EQ(listed[0].labels, before.labels);
  EXPECT_EQ(listed[0].labels.size(), 64u);
  EXPECT_TRUE(listed[0].spec == before.spec);
  EXPECT_EQ(listed[0].created, before.created);
}

}  // namespace
}  // namespace sandbox::testing
