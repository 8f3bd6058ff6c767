#include <sys/socket.h>

#include <atomic>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "live_service.hpp"
#include "raw_websocket.hpp"

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
