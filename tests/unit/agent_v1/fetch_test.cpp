#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <thread>

#include "agent/v1/http_text.hpp"
#include "unit/agent_v1/harness.hpp"
#include "support/failure.hpp"

namespace sandbox::agent::v1::testing {
namespace {

std::string host_of(std::string_view url) {
  auto parsed = parse_url(url);
  if (!parsed) return "! " + parsed.error().message();
  return parsed->host + " " + std::to_string(parsed->port) + " " + parsed->target;
}

TEST(V1Url, ReadsWhatClientsWrite) {
  EXPECT_EQ(host_of("http://example.com"), "example.com 80 /");
  EXPECT_EQ(host_of("HTTPS://example.com:8443/a/b?c=d#e"), "example.com 8443 /a/b?c=d");
  EXPECT_EQ(host_of("http://user:secret@host?q"), "host 80 /?q");
  EXPECT_EQ(host_of("http://[fe80::1]:81/x"), "fe80::1 81 /x");
  EXPECT_EQ(host_of("ftp://x/"), "! unsupported scheme \"ftp\": only http and https are allowed");
  EXPECT_EQ(host_of("example.com"), "! unsupported scheme \"\": only http and https are allowed");
  for (const char* bad : {"http:/x", "http://", "http://:80", "http://a b/", "http://a:0/", "http://a:65536/", "http://a:x/", "http://[::1/",
                          "http://a\r\nHost: b/", "http://%31/"}) {
    EXPECT_TRUE(host_of(bad).starts_with("! invalid URL")) << bad;
  }
}

TEST(V1Url, FollowsLocations) {
  const Url base = parse_url("http://h:81/a/b?c").value();
  const auto next = [&](std::string_view location) { return follow_url(base, location).value().text(); };
  EXPECT_EQ(next("https://other/x"), "https://other/x");
  EXPECT_EQ(next("//other/x"), "http://other/x");
  EXPECT_EQ(next("/x"), "http://h:81/x");
  EXPECT_EQ(next("x?y"), "http://h:81/a/x?y");
  EXPECT_EQ(next("?z"), "http://h:81/a/b?z");
  EXPECT_EQ(sandbox::testing::failure(follow_url(base, "file:///etc/passwd")), ErrorCode::invalid_argument);
}

bool internal(const char* text) {
  sockaddr_in6 six{};
  six.sin6_family = AF_INET6;
  if (::inet_pton(AF_INET6, text, &six.sin6_addr) == 1) return is_internal(reinterpret_cast<const sockaddr*>(&six));
  sockaddr_in four{};
  four.sin_family = AF_INET;
  EXPECT_EQ(::inet_pton(AF_INET, text, &four.sin_addr), 1) << text;
  return is_internal(reinterpret_cast<const sockaddr*>(&four));
}

TEST(V1Url, KnowsInternalAddresses) {
  for (const char* text : {"10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.0.1", "127.0.0.1", "127.255.0.1", "169.254.169.254", "0.0.0.0", "::1", "::",
                           "fc00::1", "fdff::1", "fe80::1", "febf::1", "::ffff:10.0.0.1", "::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::a00:1",
                           "2002:7f00:1::", "224.0.0.1", "255.255.255.255", "ff02::1", "100.64.0.1"}) {
    EXPECT_TRUE(internal(text)) << text;
  }
  for (const char* text : {"8.8.8.8", "172.15.0.1", "172.32.0.1", "192.167.0.1", "11.0.0.1", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"}) {
    EXPECT_FALSE(internal(text)) << text;
  }
}

/// The reader's account of a response that arrives in pieces of `size`.
std::string story(std::string_view response, std::size_t size, bool ends = true, bool head = false) {
  ResponseReader reader(head);
  bool done = false;
  while (!response.empty() && !done) {
    auto fed = reader.feed(response.substr(0, size));
    if (!fed) return "! " + fed.error().message();
    done = *fed;
    response.remove_prefix(std::min(size, response.size()));
  }
  if (!done && ends) {
    if (auto finished = reader.finish(); !finished) return "! " + finished.error().message();
  }
  std::string text = std::to_string(reader.status());
  for (const auto& [name, value] : reader.headers()) text += "|" + name + "=" + value;
  return text + "|" + reader.body();
}

TEST(V1Response, IsReadInAnyPieces) {
  const std::pair<const char*, const char*> cases[] = {
      {"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nX: 1\r\nX: 2\r\n\r\nhello", "200|Content-Length=5|X=1|hello"},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nT: 1\r\n\r\n", "200|Transfer-Encoding=chunked|abc0123456789"},
      {"HTTP/1.0 404 Not Found\r\n\r\nuntil the end", "404|until the end"},
      {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\nA: b\r\n\r\n", "204|A=b|"},
      {"HTTP/1.1 302\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", "302|Content-Length=0|Location=/x|"},
  };
  for (const auto& [response, expected] : cases)
    for (std::size_t size : {1u, 2u, 3u, 7u, 1000u}) EXPECT_EQ(story(response, size), expected) << size;
  EXPECT_EQ(story("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 1000, true, true), "200|Content-Length=5|");
}

TEST(V1Response, WhatIsBrokenIsRefused) {
  for (const char* bad : {"SSH-2.0-x\r\n\r\n", "HTTP/1.1 2x0 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
                          "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
                          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc",
                          "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi", "HTTP/1.1 200 OK\r\n", "", "HTTP/1.1 101 Switching\r\n\r\n",
                          "HTTP/1.1 200 OK\r\nA: b\nSet-Cookie: c\r\n\r\n", "HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n"}) {
    for (std::size_t size : {1u, 1000u}) EXPECT_TRUE(story(bad, size).starts_with("! malformed")) << bad << size;
  }
  EXPECT_TRUE(story("HTTP/1.1 200 OK\r\nA: " + std::string(100000, 'a'), 1000).starts_with("! malformed"));
  EXPECT_EQ(story("HTTP/1.1 200 OK\r\n\r\n" + std::string(11 << 20, 'b'), 65536).size(), 4 + ResponseReader::kMaxBody);
}

/// Answers every connection with what `respond` makes of the request.
class Server {
 public:
  explicit Server(std::function<std::string(const std::string&)> respond) : respond_(std::move(respond)) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || ::listen(listener_, 16) != 0 ||
        ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0)
      std::abort();
    port = ntohs(address.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~Server() {
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    ::close(listener_);
  }
  std::string url(std::string_view path) const { return "http://127.0.0.1:" + std::to_string(port) + std::string(path); }
  std::uint16_t port = 0;

 private:
  void serve() {
    for (;;) {
      const int peer = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (peer < 0) return;
      std::string request;
      char buffer[4096];
      while (request.find("\r\n\r\n") == request.npos) {
        const ssize_t count = ::recv(peer, buffer, sizeof buffer, 0);
        if (count <= 0) break;
        request.append(buffer, static_cast<std::size_t>(count));
      }
      const std::string response = respond_(request);
      (void)!::send(peer, response.data(), response.size(), MSG_NOSIGNAL);
      ::close(peer);
    }
  }
  std::function<std::string(const std::string&)> respond_;
  int listener_ = -1;
  std::thread thread_;
};

class V1Fetch : public V1 {
 protected:
  void permit() { harness.agent.sessions().v1().fetches().permit_internal_addresses(); }
  static std::string get(const std::string& url, std::string_view more = {}) { return "{\"url\":\"" + url + "\"" + std::string(more) + "}"; }
};

TEST_F(V1Fetch, AsksAndAnswers) {
  std::string seen;
  Server server([&](const std::string& request) {
    seen = request;
    return "HTTP/1.1 201 Created\r\nx-one: 1\r\nContent-Length: 4\r\n\r\nb\xc3\xa9\xff";
  });
  permit();
  const auto result = client->call("net.fetch", get(server.url("/p?q=1"), R"(,"method":"PUT","headers":{"X-Mine":"yes","Content-Length":"9"},"body":"data")"));
  EXPECT_EQ(result.find("status")->integer, 201);
  EXPECT_EQ(result.find("headers")->find("X-One")->text, "1");
  EXPECT_EQ(result.find("body")->text, "b\xc3\xa9\xef\xbf\xbd");
  EXPECT_TRUE(seen.starts_with("PUT /p?q=1 HTTP/1.1\r\nHost: 127.0.0.1:" + std::to_string(server.port) + "\r\n")) << seen;
  EXPECT_NE(seen.find("X-Mine: yes\r\n"), seen.npos);
  EXPECT_NE(seen.find("Content-Length: 4\r\n"), seen.npos);
  EXPECT_EQ(seen.find("Content-Length: 9"), seen.npos);
}

TEST_F(V1Fetch, FollowsRedirectsSoFar) {
  std::atomic<int> asked = 0;
  Server server([&](const std::string& request) -> std::string {
    ++asked;
    if (request.find(" /end ") != request.npos) return "HTTP/1.1 200 OK\r\n\r\n" + request.substr(0, 4);
    if (request.find(" /loop ") != request.npos) return "HTTP/1.1 302 Found\r\nLocation: /loop\r\n\r\n";
    return "HTTP/1.1 303 See Other\r\nLocation: end\r\n\r\n";
  });
  permit();
  EXPECT_EQ(client->call("net.fetch", get(server.url("/start"), R"(,"method":"POST","body":"x")")).find("body")->text, "GET ");
  asked = 0;
  EXPECT_EQ(client->refusal("net.fetch", get(server.url("/loop"))).second, "too many redirects");
  EXPECT_EQ(asked, 11);
}

TEST_F(V1Fetch, RefusesInternalAddressesHoweverTheyAreNamed) {
  std::atomic<int> asked = 0;
  Server server([&](const std::string&) -> std::string {
    ++asked;
    return "HTTP/1.1 200 OK\r\n\r\n";
  });
  const std::string port = ":" + std::to_string(server.port) + "/";
  for (const std::string host : {"127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]"}) {
    EXPECT_EQ(client->refusal("net.fetch", get("http://" + host + port)).second, "requests to private/internal addresses are not allowed") << host;
  }
  EXPECT_EQ(client->refusal("net.fetch", get("https://127.0.0.1" + port)).second, "requests to private/internal addresses are not allowed");
  EXPECT_EQ(asked, 0);
}

TEST_F(V1Fetch, SaysWhatIsWrong) {
  EXPECT_EQ(client->refusal("net.fetch").second, "url is required");
  EXPECT_EQ(client->refusal("net.fetch", get("ftp://x/")).second, "unsupported scheme \"ftp\": only http and https are allowed");
  permit();
  std::uint16_t free_port;
  {
    Server gone([](const std::string&) { return ""; });
    free_port = gone.port;
  }
  const auto refused = client->refusal("net.fetch", get("http://127.0.0.1:" + std::to_string(free_port) + "/")).second;
  EXPECT_TRUE(refused.starts_with("http request: ")) << refused;
  EXPECT_NE(refused.find("connection refused"), refused.npos);
  Server silent([](const std::string&) { return ""; });
  EXPECT_TRUE(client->refusal("net.fetch", get(silent.url("/"))).second.starts_with("http request: malformed")) << "no response";
  EXPECT_TRUE(client->refusal("net.fetch", get(silent.url("/"), R"(,"headers":{"A":"b\r\nC: d"})")).second.starts_with("http request: invalid"));
}

TEST_F(V1Fetch, LeavesNoChildBehind) {
  Server server([](const std::string&) { return "HTTP/1.1 200 OK\r\n\r\n" + std::string(12 << 20, 'x'); });
  permit();
  const auto result = client->call("net.fetch", get(server.url("/")));
  EXPECT_GT(result.find("body")->text.size(), 10u << 19);
  EXPECT_LE(result.find("body")->text.size(), 10u << 20);
  EXPECT_TRUE(harness.run_until([] { return Root::content("/proc/thread-self/children").empty(); }, 5s));
}

}  // namespace
}  // namespace sandbox::agent::v1::testing
