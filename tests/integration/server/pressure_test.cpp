#include <sys/socket.h>
#include <sys/un.h>

#include <atomic>
#include <cstring>
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
    core::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, socket().c_str(), sizeof address.sun_path - 1);
    ASSERT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
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
