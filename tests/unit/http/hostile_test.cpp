#include <thread>

#include "harness.hpp"

namespace sandbox::http::test {
namespace {

struct Hostile {
  const char* name;
  std::string bytes;
  const char* status;  ///< "" : closed without an answer
};

const std::string kHost = "Host: h\r\n";

class HostileRequests : public ServerTest, public ::testing::WithParamInterface<Hostile> {};

TEST_P(HostileRequests, GetTheirAnswerAndNoMore) {
  start(echo);
  auto raw = dial();
  raw.send(GetParam().bytes);
  raw.read_to_end();
  EXPECT_TRUE(raw.closed) << "the connection must not be used further";
  EXPECT_EQ(raw.got.substr(0, 13), "HTTP/1.1 " + std::string(GetParam().status) + " ") << raw.got;
  // What was smuggled behind must not have been answered.
  EXPECT_EQ(raw.got.find("HTTP/1.1 200"), std::string::npos) << raw.got;
  auto after = client()->request({.target = "/alive"}, in(5s));
  ASSERT_TRUE(after) << after.error().to_string();
  EXPECT_EQ(after->body, "GET /alive ");
}

const std::string kSmuggled = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";

INSTANTIATE_TEST_SUITE_P(
    Every, HostileRequests,
    ::testing::Values(
        Hostile{"Garbage", "\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", "400"}, Hostile{"NoVersion", "GET /\r\n\r\n", "400"},
        Hostile{"OddVersion", "GET / HTTP/3.7\r\n" + kHost + "\r\n", "505"},
        Hostile{"NoHost", "GET / HTTP/1.1\r\n\r\n", "400"}, Hostile{"TwoHosts", "GET / HTTP/1.1\r\n" + kHost + kHost + "\r\n", "400"},
        Hostile{"BareLineFeed", "GET / HTTP/1.1\n" + kHost + "\n\r\n\r\n", "505"},
        Hostile{"BlankInName", "GET / HTTP/1.1\r\nHost : h\r\n\r\n", "400"},
        Hostile{"NulInValue", std::string("GET / HTTP/1.1\r\nHost: h\0\r\n\r\n", 28), "400"},
        Hostile{"RelativeTarget", "GET a HTTP/1.1\r\n" + kHost + "\r\n", "400"},
        Hostile{"Authority", "CONNECT h:1 HTTP/1.1\r\n" + kHost + "\r\n", "400"},
        Hostile{"BrokenEscape", "GET /%zz HTTP/1.1\r\n" + kHost + "\r\n", "400"},
        Hostile{"EncodedNul", "GET /%00 HTTP/1.1\r\n" + kHost + "\r\n", "400"},
        Hostile{"LengthAndCoding",
                "POST / HTTP/1.1\r\n" + kHost + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + kSmuggled, "400"},
        Hostile{"CodingAndLength",
                "POST / HTTP/1.1\r\n" + kHost + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + kSmuggled, "400"},
        Hostile{"TwoLengths", "POST / HTTP/1.1\r\n" + kHost + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello" + kSmuggled, "400"},
        Hostile{"TwoEqualLengths",
                "POST / HTTP/1.1\r\n" + kHost + "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello" + kSmuggled, "400"},
        Hostile{"ListOfLengths", "POST / HTTP/1.1\r\n" + kHost + "Content-Length: 5, 5\r\n\r\nhello" + kSmuggled, "400"},
        Hostile{"SignedLength", "POST / HTTP/1.1\r\n" + kHost + "Content-Length: +5\r\n\r\nhello" + kSmuggled, "400"},
        Hostile{"HugeLength", "POST / HTTP/1.1\r\n" + kHost + "Content-Length: 99999999999999999999\r\n\r\n" + kSmuggled, "400"},
        Hostile{"OtherCoding", "POST / HTTP/1.1\r\n" + kHost + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + kSmuggled, "501"},
        Hostile{"CodingAfterChunked",
                "POST / HTTP/1.1\r\n" + kHost + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + kSmuggled, "501"},
        Hostile{"HiddenCoding",
                "POST / HTTP/1.1\r\n" + kHost + "Transfer-Encoding: xchunked\r\nContent-Length: 4\r\n\r\n" + kSmuggled, "400"},
        Hostile{"CodingInOldVersion", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + kSmuggled, "400"},
        Hostile{"ChunkSizeNoNumber", "POST / HTTP/1.1\r\n" + kHost + "Transfer-Encoding: chunked\r\n\r\nzz\r\n" + kSmuggled, "400"},
        Hostile{"ChunkSizeOverflows",
                "POST / HTTP/1.1\r\n" + kHost + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n" + kSmuggled, "400"},
        Hostile{"ChunkWithoutItsEnd",
                "POST / HTTP/1.1\r\n" + kHost + "Transfer-Encoding: chunked\r\n\r\n3\r\nabcX\r\n0\r\n\r\n" + kSmuggled, "400"},
        Hostile{"LongTarget", "GET /" + std::string(20000, 'a') + " HTTP/1.1\r\n" + kHost + "\r\n", "431"},
        Hostile{"ManyHeaders", "GET / HTTP/1.1\r\n" + kHost + std::string(20000, 'x') + ": 1\r\n\r\n", "431"},
        Hostile{"EndlessLine", std::string(40000, 'G'), "431"}, Hostile{"BlankLinesOnly", std::string(100, '\n'), "400"}),
    [](const auto& one) { return one.param.name; });

class Timeouts : public ServerTest {};

TEST_F(Timeouts, AHeadThatDripsIsAnsweredWith408) {
  start(echo, {.header_timeout = 100ms});
  auto raw = dial();
  std::jthread drip([&](const std::stop_token& stop) {
    for (const char c : std::string("GET / HTTP/1.1\r\nHost: h\r\nX: ") + std::string(1000, 'x')) {
      if (stop.stop_requested() || !raw.send({&c, 1})) return;
      std::this_thread::sleep_for(5ms);
    }
  });
  raw.read_to_end();
  EXPECT_TRUE(raw.got.starts_with("HTTP/1.1 408 ")) << raw.got;
}

TEST_F(Timeouts, AnIdleConnectionIsClosedWithoutAWord) {
  start(echo, {.idle_timeout = 100ms});
  auto raw = dial();
  EXPECT_EQ(raw.read_to_end(), "");
  EXPECT_TRUE(raw.closed);
}

TEST_F(Timeouts, ABodyThatDripsIsGivenUp) {
  start(echo, {.body_timeout = 100ms});
  auto raw = dial();
  raw.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n");
  std::jthread drip([&](const std::stop_token& stop) {
    // Always within body_timeout of the last byte: what counts is the rate.
    while (!stop.stop_requested() && raw.send("x")) std::this_thread::sleep_for(10ms);
  });
  raw.read_to_end();
  EXPECT_TRUE(raw.got.starts_with("HTTP/1.1 408 ")) << raw.got;
}

TEST_F(Timeouts, AClientThatDoesNotReadItsAnswerIsDropped) {
  std::promise<unsigned> finished;
  start(
      [&](const std::shared_ptr<Exchange>& exchange) {
        exchange->on_finished([&](unsigned status) { finished.set_value(status); });
        exchange->respond(text_response(200, std::string(16 << 20, 'x')));
      },
      {.write_timeout = 100ms});
  auto raw = dial();
  raw.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_EQ(finished.get_future().wait_for(5s), std::future_status::ready);
  raw.read_to_end();
  EXPECT_LT(raw.got.size(), 16u << 20);
}

TEST_F(Timeouts, ThousandsOfHalfRequestsDoNotStopTheService) {
  start(echo, {.header_timeout = 2s});
  std::vector<Raw> slow;
  for (int i = 0; i < 500; ++i) {
    slow.push_back(dial());
    slow.back().send("GET / HT");
  }
  auto answer = client()->request({.target = "/fine"}, in(5s));
  ASSERT_TRUE(answer) << answer.error().to_string();
  EXPECT_EQ(answer->body, "GET /fine ");
}

}  // namespace
}  // namespace sandbox::http::test
