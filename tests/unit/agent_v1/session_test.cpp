#include "unit/agent_v1/harness.hpp"

namespace sandbox::agent::v1::testing {
namespace {

class V1Session : public V1 {
 protected:
  /// The next message, whatever it is.
  Message next() {
    Message message;
    if (!harness.run_until([&] { return !client->messages.empty(); })) {
      ADD_FAILURE() << "nothing came";
      return message;
    }
    message = std::move(client->messages.front());
    client->messages.pop_front();
    return message;
  }
  void reattach(bool resumed) {
    client->close();
    ASSERT_TRUE(harness.run_until([&] { return client->stream().end.has_value(); }));
    EXPECT_TRUE(client->stream().ok());
    client.reset();
    client = std::make_unique<RawClient>(harness, resumed);
  }
};

TEST_F(V1Session, EchoesIdsOfEveryKind) {
  for (const char* id : {"1", "\"abc\"", "\"\"", "-7", "1.5", "null", "12345678901234567890"}) {
    client->text(std::string("{\"jsonrpc\":\"2.0\",\"method\":\"env.list\",\"id\":") + id + "}");
    EXPECT_EQ(next().payload, std::string("{\"jsonrpc\":\"2.0\",\"id\":") + id + ",\"result\":{}}");
  }
  for (const char* id : {"[1]", "{}", "true"}) {
    client->text(std::string("{\"jsonrpc\":\"2.0\",\"method\":\"env.list\",\"id\":") + id + "}");
    EXPECT_EQ(next().payload, R"({"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"invalid request"}})");
  }
}

TEST_F(V1Session, AnswersWhatIsNoRequest) {
  client->text("{\"jsonrpc\":");
  EXPECT_EQ(next().json.find("error")->find("code")->integer, -32700);
  for (const char* text : {"[]", "5", "{}", R"({"id":1,"method":"env.list"})", R"({"jsonrpc":"1.0","id":1,"method":"env.list"})",
                           R"({"jsonrpc":"2.0","id":1})", R"({"jsonrpc":"2.0","id":1,"method":5})",
                           R"([{"jsonrpc":"2.0","id":1,"method":"env.list"}])"}) {
    client->text(text);
    EXPECT_EQ(next().json.find("error")->find("code")->integer, -32600) << text;
  }
  EXPECT_EQ(client->refusal("env.list", "[1]").second, "invalid params: an object is expected");
}

TEST_F(V1Session, DoesNotAnswerNotifications) {
  client->text(R"({"jsonrpc":"2.0","method":"env.set","params":{"key":"a","value":"b"}})");
  client->text(R"({"jsonrpc":"2.0","method":"no.such"})");
  EXPECT_EQ(client->call("env.get", R"({"key":"a"})").text, "b");
  EXPECT_TRUE(client->messages.empty());
}

TEST_F(V1Session, MethodsOfOthersDoNotExist) {
  for (const char* method : {"auth.token", "template.save", "session.resume", "", "fs.", "FS.read"}) {
    EXPECT_EQ(client->refusal(method), std::pair(std::int64_t{-32601}, "method not found: " + std::string(method)));
  }
}

TEST_F(V1Session, VariablesAreAStoreOfTheirOwn) {
  EXPECT_TRUE(client->call("env.list").keys.empty());
  EXPECT_EQ(client->call("env.get", R"({"key":"PATH"})").kind, json::Kind::null);
  EXPECT_EQ(client->call("env.set", R"({"key":"A","value":"1 \"2\" é","sandbox_id":"sbx-1"})").keys.size(), 0u);
  client->call("env.set", R"({"key":"B","value":""})");
  EXPECT_EQ(client->call("env.get", R"({"key":"A"})").text, "1 \"2\" é");
  EXPECT_EQ(client->call("env.list", "null").keys.size(), 2u);
  client->call("env.delete", R"({"key":"A"})");
  client->call("env.delete", R"({"key":"A"})");
  EXPECT_EQ(client->call("env.get", R"({"key":"A"})").kind, json::Kind::null);
  for (const char* method : {"env.get", "env.set", "env.delete"}) EXPECT_EQ(client->refusal(method).second, "key is required");
  reattach(false);
  EXPECT_EQ(client->call("env.list").find("B")->text, "");
}

TEST_F(V1Session, FramesArriveInAnyPieces) {
  const std::string bytes = frame(1, R"({"jsonrpc":"2.0","id":1,"method":"env.set","params":{"key":"k","value":"v"}})") +
                            frame(1, R"({"jsonrpc":"2.0","id":2,"method":"env.get","params":{"key":"k"}})");
  for (const char byte : bytes) {
    client->send_raw(std::string(1, byte));
    harness.loop.turn(0ms);
  }
  EXPECT_EQ(next().payload, R"({"jsonrpc":"2.0","id":1,"result":{}})");
  EXPECT_EQ(next().payload, R"({"jsonrpc":"2.0","id":2,"result":"v"})");
}

TEST_F(V1Session, AFrameMayBeLargerThanTheWindowButNotThanTenMebibytes) {
  std::string value(5 << 20, 'v');
  EXPECT_EQ(client->refusal("env.set", "{\"key\":\"k\",\"value\":\"" + value + "\"}").second, "too many or too large variables");
  EXPECT_EQ(client->call("process.exec", "{\"command\":\"echo ok\",\"ignored\":\"" + value + "\"}").find("stdout")->text, "ok\n");
  client->send_raw(std::string("\x01\x00\xa0\x00\x01", 5));
  ASSERT_TRUE(harness.run_until([&] { return client->stream().end.has_value(); }));
  EXPECT_EQ(client->stream().error().code(), ErrorCode::protocol);
}

TEST_F(V1Session, UnknownFramesEndTheStream) {
  client->send_raw(std::string("\x03\0\0\0\0", 5));
  ASSERT_TRUE(harness.run_until([&] { return client->stream().end.has_value(); }));
  EXPECT_EQ(client->stream().error().code(), ErrorCode::protocol);
  client.reset();
  client = std::make_unique<RawClient>(harness);
  EXPECT_EQ(client->call("env.list").kind, json::Kind::object);
}

TEST_F(V1Session, ANewClientTakesOver) {
  const auto pid = client->call("process.spawn", R"({"command":"cat"})").find("pid")->integer;
  RawClient second(harness);
  EXPECT_EQ(second.call("env.list").kind, json::Kind::object);
  ASSERT_TRUE(harness.run_until([&] { return client->stream().end.has_value(); }));
  EXPECT_TRUE(client->stream().ok());
  second.call("process.stdin", "{\"pid\":" + std::to_string(pid) + R"(,"data":"aGk="})");
  EXPECT_EQ(second.notification("process.stdout").find("data")->text, "aGk=");
}

TEST_F(V1Session, WhatHappensWithoutAClientIsReplayed) {
  const auto pid = client->call("process.spawn", R"({"command":"read x; echo one; echo two >&2; exit 3"})").find("pid")->integer;
  const auto terminal = client->call("process.pty", R"({"command":"read x; echo shown"})").find("pid")->integer;
  client->call("process.spawn", R"({"command":"sleep 0.2; kill -9 $$"})");
  client->text("{\"jsonrpc\":\"2.0\",\"method\":\"process.stdin\",\"params\":{\"pid\":" + std::to_string(pid) + R"(,"data":"Cg=="}})");
  client->text("{\"jsonrpc\":\"2.0\",\"method\":\"process.stdin\",\"params\":{\"pid\":" + std::to_string(terminal) + R"(,"data":"Cg=="}})");
  client->close();
  ASSERT_TRUE(harness.run_until([&] { return client->stream().end.has_value(); }));
  const std::size_t before = client->messages.size();
  EXPECT_EQ(before, 0u);
  const auto until = core::SteadyClock::now() + 600ms;
  while (core::SteadyClock::now() < until) harness.loop.turn(20ms);
  client.reset();
  client = std::make_unique<RawClient>(harness, true, "sbx-0badcafe");
  const auto first = next();
  EXPECT_EQ(first.json.find("method")->text, "session.resumed");
  const auto* params = first.json.find("params");
  EXPECT_EQ(params->find("sandbox")->text, "sbx-0badcafe");
  EXPECT_EQ(params->find("truncated")->integer, 0);
  EXPECT_EQ(params->find("disconnected_at")->text.size(), 20u);
  EXPECT_EQ(params->find("reconnected_at")->text.size(), 20u);
  const auto buffered = params->find("buffered")->integer;
  std::string states, outputs, shown;
  for (std::int64_t i = 0; i < buffered; ++i) {
    const auto message = next();
    if (message.binary) {
      shown += message.payload;
      continue;
    }
    const auto& method = message.json.find("method")->text;
    if (method == "process.exit") {
      EXPECT_TRUE(outputs.empty() && shown.empty());
      states += std::to_string(message.json.find("params")->find("exit_code")->integer) + " ";
    } else {
      outputs += *from_base64(message.json.find("params")->find("data")->text);
    }
  }
  EXPECT_EQ(states.size(), std::string("3 0 -1 ").size());
  EXPECT_NE(outputs.find("one\n"), std::string::npos);
  EXPECT_NE(outputs.find("two\n"), std::string::npos);
  EXPECT_NE(shown.find("shown"), std::string::npos);
  EXPECT_EQ(client->call("env.list").kind, json::Kind::object);
  EXPECT_TRUE(client->messages.empty());
}

TEST_F(V1Session, AFirstClientMayBeResumedToo) {
  client.reset();
  RawClient resumed(harness, true);
  const auto params = resumed.notification("session.resumed");
  EXPECT_EQ(params.find("buffered")->integer, 0);
  EXPECT_EQ(params.find("disconnected_at")->text, params.find("reconnected_at")->text);
}

TEST_F(V1Session, OutputBeyondTheBufferIsCountedAndProgramsGoOn) {
  client->call("process.spawn", R"({"command":"head -c 8000000 /dev/zero; echo done > flag"})");
  client->close();
  client.reset();
  ASSERT_TRUE(harness.run_until([&] { return Root::content(root / "flag") == "done\n"; }));
  const auto until = core::SteadyClock::now() + 100ms;
  while (core::SteadyClock::now() < until) harness.loop.turn(20ms);
  client = std::make_unique<RawClient>(harness, true);
  const auto params = client->notification("session.resumed");
  EXPECT_GT(params.find("truncated")->integer, 500);
  EXPECT_LE(params.find("buffered")->integer, 1050);
  EXPECT_EQ(client->notification("process.exit").find("exit_code")->integer, 0);
}

TEST_F(V1Session, AClientThatIsCutOffLosesOnlyItsAnswers) {
  client->request("process.exec", R"({"command":"sleep 0.2; echo x > flag"})");
  client->call("env.list");
  client->cancel();
  client.reset();
  ASSERT_TRUE(harness.run_until([&] { return Root::content(root / "flag") == "x\n"; }));
  client = std::make_unique<RawClient>(harness);
  EXPECT_EQ(client->call("process.exec", R"({"command":"echo y"})").find("stdout")->text, "y\n");
  EXPECT_TRUE(client->messages.empty());
}

TEST_F(V1Session, StateOutlivesTheTransportOfTheStream) {
  client->call("env.set", R"({"key":"a","value":"1"})");
  client->call("process.spawn", R"({"command":"sleep 0.3; exit 9"})");
  client.reset();
  harness.server.reset();   // and with it every stream
  const auto until = core::SteadyClock::now() + 500ms;
  while (core::SteadyClock::now() < until) harness.loop.turn(20ms);
  Loopback again(harness.agent);   // any other way in
  struct Inner : session::StreamHandler {
    void on_data(session::Channel, ByteView data, bool) override { out += as_text(data); }
    std::string out;
  } inner;
  protocol::SessionRequest request;
  request.dialect = "v1";
  request.resumed = true;
  const auto id = again.client().open(protocol::Method::session, protocol::encode(request), &inner);
  again.client().send(id, session::Channel::in, as_bytes(frame(1, R"({"jsonrpc":"2.0","id":1,"method":"env.list"})")));
  const auto came = [&](std::string_view text) { return harness.run_until([&] { return inner.out.find(text) != std::string::npos; }); };
  EXPECT_TRUE(came(R"("method":"process.exit","params":{"exit_code":9,)"));
}

}  // namespace
}  // namespace sandbox::agent::v1::testing
