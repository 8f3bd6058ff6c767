#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <filesystem>
#include <iterator>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "core/text.hpp"
#include "live_service.hpp"
#include "raw_websocket.hpp"
#include "support/ledger.hpp"

// More than it can take: creations far beyond capacity, clients that do not read or speak.
namespace sandbox::testing {
namespace {

using namespace std::chrono_literals;

class ServerPressure : public LiveService {
 protected:
  server::Config config() override {
    server::Config config = LiveService::config();
    config.limits.max_sandboxes = 6;
    config.pool.min_base = 2;
    return config;
  }
};

TEST_F(ServerPressure, AFloodOfCreationsIsRefusedAndForgotten) {
  constexpr int kThreads = 6, kEach = 12;  // over ten times what fits
  std::mutex mutex;
  std::map<unsigned, int> statuses;
  std::vector<std::thread> threads;
  std::atomic<unsigned> most{0};
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      auto client = http::Client::make(http::Endpoint::parse(socket()).value()).value();
      for (int j = 0; j < kEach; ++j) {
        http::Request request;
        request.method = "POST";
        request.target = "/sandboxes";
        request.body = "{}";
        auto response = client->request(request, core::SteadyClock::now() + 60s);
        std::lock_guard lock(mutex);
        ++statuses[response ? response->status : (response.ignore("counted as 0"), 0u)];
        if (!response || response->status != 201) continue;
        const std::string id = rest::read_sandbox(response->body).value().id;
        if (j % 2 == 0) continue;  // every other one stays
        http::Request remove;
        remove.method = "DELETE";
        remove.target = "/sandboxes/" + id;
        auto removed = client->request(remove, core::SteadyClock::now() + 60s);
        EXPECT_TRUE(removed && removed->status == 204);
      }
    });
  }
  std::atomic<bool> watching{true};
  std::thread watcher([&] {
    while (watching) {
      most = std::max<unsigned>(most, static_cast<unsigned>(rest::read_sandboxes(get("/sandboxes").body).value().size()));
      std::this_thread::sleep_for(2ms);
    }
  });
  for (std::thread& thread : threads) thread.join();
  watching = false;
  watcher.join();
  EXPECT_LE(most, 6u);
  EXPECT_GT(statuses[201], 0);
  EXPECT_GT(statuses[503], 0);
  EXPECT_EQ(statuses[201] + statuses[503], kThreads * kEach);
  for (const SandboxInfo& info : rest::read_sandboxes(get("/sandboxes").body).value())
    EXPECT_EQ(call("DELETE", "/sandboxes/" + info.id).status, 204u);
  EXPECT_EQ(call("POST", "/sandboxes", "{}").status, 201u);
}

/// Where each caller may create so many times a minute.
class ServerFlood : public LiveService {
 protected:
  static constexpr unsigned kCapacity = 4, kPerMinute = 25;
  server::Config config() override {
    server::Config config = LiveService::config();
    config.limits.max_sandboxes = kCapacity;
    config.limits.create_rate_limit = kPerMinute;
    config.limits.create_wait = 5ms;
    config.pool.min_base = 0;
    return config;
  }
  static std::size_t processes() { return descendants(::getpid()).size(); }
  static std::ptrdiff_t descriptors() {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), std::filesystem::directory_iterator());
  }
};

TEST_F(ServerFlood, IsAnsweredWithinRateAndCapacityAndForgotten) {
  constexpr int kThreads = 4, kEach = 20, kIdentities = 2;  // 20 times what fits, 1.6 times what the rate admits
  const std::size_t launchers = processes();
  // What is made once and stays: of each launcher, each thread.
  for (int round = 0; round < 4; ++round) {
    std::vector<std::string> warm_up;
    for (unsigned i = 0; i < kCapacity; ++i) warm_up.push_back(create("{}"));
    EXPECT_GT(processes(), launchers);
    for (const std::string& id : warm_up) EXPECT_EQ(call("DELETE", "/sandboxes/" + id).status, 204u);
  }
  ASSERT_TRUE(eventually([&] { return processes() == launchers; }));
  const auto descriptors_before = descriptors();

  struct Answer {
    unsigned status = 0, retry_after = 0;
    core::Duration took{};
  };
  std::vector<std::vector<Answer>> answers(kThreads);
  std::vector<std::thread> threads;
  const auto begin = core::SteadyClock::now();
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      auto client = http::Client::make(http::Endpoint::parse(socket()).value()).value();
      const std::string identity = "flood-" + std::to_string(i % kIdentities);
      for (int j = 0; j < kEach; ++j) {
        http::Request request;
        request.method = "POST";
        request.target = "/sandboxes";
        request.body = "{}";
        request.headers.set("X-Sandbox-Identity", identity);
        const auto asked = core::SteadyClock::now();
        auto response = client->request(request, asked + 60s);
        Answer& answer = answers[i].emplace_back();
        answer.took = core::SteadyClock::now() - asked;
        if (!response) {
          ADD_FAILURE() << response.error().to_string();
          continue;
        }
        answer.status = response->status;
        if (const auto after = response->headers.find("Retry-After")) answer.retry_after = core::parse_number<unsigned>(*after).value_or(0);
        if (answer.status != 201 || j % 2 == 1) continue;  // every other one stays
        http::Request remove;
        remove.method = "DELETE";
        remove.target = "/sandboxes/" + rest::read_sandbox(response->body).value().id;
        remove.headers.set("X-Sandbox-Identity", identity);
        auto removed = client->request(remove, core::SteadyClock::now() + 60s);
        EXPECT_TRUE(removed && removed->status == 204);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const auto flood = core::SteadyClock::now() - begin;
  ASSERT_LT(flood, 50s) << "hits of the first seconds count no more: the figures below are for one window";

  std::map<unsigned, int> statuses;
  std::map<unsigned, core::Duration> longest;
  for (const auto& of_thread : answers)
    for (const Answer& answer : of_thread) {
      ++statuses[answer.status];
      longest[answer.status] = std::max(longest[answer.status], answer.took);
      if (answer.status == 201) continue;
      EXPECT_GE(answer.retry_after, 1u) << answer.status;
      EXPECT_LE(answer.retry_after, 60u) << answer.status;
    }
  EXPECT_EQ(statuses[429], kThreads * kEach - kIdentities * static_cast<int>(kPerMinute));
  EXPECT_GE(statuses[201], static_cast<int>(kCapacity));
  EXPECT_GT(statuses[503], 0);
  EXPECT_EQ(statuses[201] + statuses[503] + statuses[429], kThreads * kEach);

  const auto ended = core::SteadyClock::now();
  for (const SandboxInfo& info : rest::read_sandboxes(get("/sandboxes").body).value())
    EXPECT_EQ(call("DELETE", "/sandboxes/" + info.id).status, 204u);
  // Every place was given back: somebody else gets all of them.
  for (unsigned i = 0; i < kCapacity; ++i) EXPECT_EQ(call("POST", "/sandboxes", "{}", {{"X-Sandbox-Identity", "later"}}).status, 201u);
  const auto recovered = core::SteadyClock::now() - ended;
  EXPECT_LT(recovered, 1s);
  EXPECT_EQ(call("POST", "/sandboxes", "{}", {{"X-Sandbox-Identity", "flood-0"}}).status, 429u) << "its minute is not over";
  for (const SandboxInfo& info : rest::read_sandboxes(get("/sandboxes").body).value())
    EXPECT_EQ(call("DELETE", "/sandboxes/" + info.id).status, 204u);
  EXPECT_TRUE(eventually([&] { return processes() == launchers; })) << processes() << " processes, before " << launchers;
  // A few are made on first use under load; one for each request, or each sandbox and its relatives, would be more.
  constexpr std::ptrdiff_t kOnFirstUse = 4;
  EXPECT_TRUE(eventually([&] { return descriptors() <= descriptors_before + kOnFirstUse; })) << descriptors() << " descriptors, before " << descriptors_before;
  const auto ms = [](core::Duration time) { return std::chrono::duration<double, std::milli>(time).count(); };
  std::printf("flood of %d in %.0f ms: 201 %d (at most %.1f ms), 503 %d (%.1f ms), 429 %d (%.1f ms); recovered in %.1f ms\n", kThreads * kEach,
              ms(flood), statuses[201], ms(longest[201]), statuses[503], ms(longest[503]), statuses[429], ms(longest[429]), ms(recovered));
}

/// Where a creation waits longer than any test.
class ServerQueue : public LiveService {
 protected:
  server::Config config() override {
    server::Config config = LiveService::config();
    config.limits.max_sandboxes = 1;
    config.limits.create_wait = 1min;
    config.pool.min_base = 0;
    return config;
  }
  /// Sends a creation on a connection of its own; what answers it can be read there.
  core::UniqueFd ask() {
    core::UniqueFd connection = connect_unix(socket());
    EXPECT_TRUE(connection);
    constexpr std::string_view request = "POST /sandboxes HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}";
    EXPECT_EQ(::write(connection.get(), request.data(), request.size()), static_cast<ssize_t>(request.size()));
    get("/health");  // behind it on the same thread: it was seen
    return connection;
  }
  static std::string answer(const core::UniqueFd& connection) {
    std::string text(4096, '\0');
    const ssize_t size = ::read(connection.get(), text.data(), text.size());
    return text.substr(0, size > 0 ? static_cast<std::size_t>(size) : 0);
  }
};

TEST_F(ServerQueue, AFreedPlaceGoesToWhoeverWaitsLongest) {
  const std::string first = create("{}");
  const core::UniqueFd second = ask();
  { const core::UniqueFd gone = ask(); }
  const core::UniqueFd fourth = ask();
  EXPECT_EQ(call("DELETE", "/sandboxes/" + first).status, 204u);
  const std::string made = answer(second);
  ASSERT_EQ(made.substr(0, 12), "HTTP/1.1 201") << made;
  EXPECT_EQ(rest::read_sandboxes(get("/sandboxes").body).value().size(), 1u);
  const std::string id = rest::read_sandbox(made.substr(made.find("\r\n\r\n") + 4)).value().id;
  EXPECT_EQ(call("DELETE", "/sandboxes/" + id).status, 204u);
  // The client that went is passed over.
  EXPECT_EQ(answer(fourth).substr(0, 12), "HTTP/1.1 201");
}

TEST_F(ServerQueue, NobodyWaitsForAServiceThatStops) {
  create("{}");
  const core::UniqueFd waiting = ask();
  EXPECT_TRUE(service().stop(server::Leave::destroy, 2s));
  EXPECT_EQ(answer(waiting).substr(0, 12), "HTTP/1.1 503");
}

TEST_F(ServerPressure, AClientThatDoesNotReadHoldsUpNobody) {
  const std::string id = create(R"({"ttl":60})");
  RawWebSocket lazy(socket(), "/sandboxes/" + id + "/ws");
  ASSERT_EQ(lazy.status(), 101u);
  // 64 MiB come out of this, and nobody takes them.
  lazy.text(R"({"jsonrpc":"2.0","id":1,"method":"process.stream","params":{"command":"head -c 67108864 /dev/zero | base64"}})");
  const std::string other = create(R"({"ttl":60})");
  RawWebSocket brisk(socket(), "/sandboxes/" + other + "/ws");
  ASSERT_EQ(brisk.status(), 101u);
  for (int i = 1; i <= 20; ++i) {
    brisk.text(R"({"jsonrpc":"2.0","id":)" + std::to_string(i) + R"(,"method":"process.exec","params":{"command":"true"}})");
    ASSERT_FALSE(brisk.find("\"id\":" + std::to_string(i)).empty());
  }
  EXPECT_EQ(call("DELETE", "/sandboxes/" + id).status, 204u);
}

TEST_F(ServerPressure, GarbageIsAnsweredOrDroppedAndTheDaemonLives) {
  const std::vector<std::string> garbage = {
      std::string("\0\0\0\0", 4), "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "POST /sandboxes HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
      "POST /sandboxes HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "GET /" + std::string(100'000, 'a') + " HTTP/1.1\r\n\r\n"};
  for (const std::string& bytes : garbage) {
    const core::UniqueFd fd = connect_unix(socket());
    ASSERT_TRUE(fd);
    static_cast<void>(::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL));
    ::shutdown(fd.get(), SHUT_WR);
    char answer[4096];
    while (::recv(fd.get(), answer, sizeof answer, 0) > 0) {
    }
    EXPECT_EQ(get("/health").status, 200u);
  }
}

}  // namespace
}  // namespace sandbox::testing
