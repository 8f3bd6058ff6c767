#include <thread>

#include "live_service.hpp"
#include "raw_websocket.hpp"

// Sessions as old clients have them: one WebSocket each, JSON-RPC inside.
namespace sandbox::testing {
namespace {

using namespace std::chrono_literals;

class ServerSessions : public LiveService {
 protected:
  RawWebSocket open(const std::string& id, const std::string& headers = {}) {
    return RawWebSocket(socket(), "/sandboxes/" + id + "/ws", headers);
  }
  static std::string exec(const std::string& command, int id = 1) {
    return R"({"jsonrpc":"2.0","id":)" + std::to_string(id) + R"(,"method":"process.exec","params":{"command":")" + command + R"("}})";
  }
};

TEST_F(ServerSessions, ACommandRunsInTheSandbox) {
  const std::string id = create(R"({"ttl":60})");
  RawWebSocket ws = open(id);
  ASSERT_EQ(ws.status(), 101u) << ws.response();
  ws.text(exec("echo hello"));
  const std::string reply = ws.find("\"id\":1");
  EXPECT_NE(reply.find("hello"), std::string::npos) << reply;
}

TEST_F(ServerSessions, WithoutTtlTheSandboxEndsWithItsSession) {
  const std::string id = create();
  RawWebSocket ws = open(id);
  ASSERT_EQ(ws.status(), 101u);
  ws.text(exec("true"));
  ASSERT_FALSE(ws.find("\"id\":1").empty());
  ws.close(1000);
  EXPECT_TRUE(eventually([&] { return get("/sandboxes/" + id).status == 404; }));
}

TEST_F(ServerSessions, WithTtlItWaitsIsResumedAndReaped) {
  const std::string id = create(R"({"ttl":2})");
  {
    RawWebSocket ws = open(id);
    ASSERT_EQ(ws.status(), 101u);
    ws.text(exec("true"));
    ASSERT_FALSE(ws.find("\"id\":1").empty());
    ws.cut();
  }
  ASSERT_TRUE(eventually([&] { return state_of(id) == SandboxState::disconnected; }));
  {
    RawWebSocket ws = open(id);
    ASSERT_EQ(ws.status(), 101u);
    const std::string resumed = ws.find("session.resumed");
    EXPECT_NE(resumed.find("\"sandbox\":\"" + id + "\""), std::string::npos) << resumed;
    EXPECT_EQ(state_of(id), SandboxState::running);
  }
  EXPECT_TRUE(eventually([&] { return get("/sandboxes/" + id).status == 404; }, 10s));
  // The id is forgotten at once; the event tells that nothing is left.
  EXPECT_TRUE(eventually([&] { return get("/events/history").body.find("sandbox.destroyed") != std::string::npos; }));
  const std::string events = get("/events/history").body;
  for (const char* type : {"sandbox.disconnected", "sandbox.reconnected"})
    EXPECT_NE(events.find(type), std::string::npos) << type;
  EXPECT_NE(events.find(R"("data":{"ttl":2})"), std::string::npos) << events;
}

TEST_F(ServerSessions, ANewSessionTakesOverAndTheOldOneDestroysNothing) {
  const std::string id = create();
  RawWebSocket first = open(id);
  ASSERT_EQ(first.status(), 101u);
  first.text(exec("true"));
  ASSERT_FALSE(first.find("\"id\":1").empty());
  RawWebSocket second = open(id);
  ASSERT_EQ(second.status(), 101u);
  EXPECT_EQ(first.find("session.replaced"), R"({"jsonrpc":"2.0","method":"session.replaced","params":{"reason":"new session connected","sandbox":")" + id + "\"}}");
  const auto goodbye = first.next();
  ASSERT_TRUE(goodbye);
  EXPECT_EQ(goodbye->opcode, 8);
  EXPECT_EQ(goodbye->close_code(), 1000);
  EXPECT_EQ(goodbye->close_reason(), "session closed");
  first.cut();
  second.text(exec("echo still here", 2));
  EXPECT_NE(second.find("\"id\":2").find("still here"), std::string::npos);
}

TEST_F(ServerSessions, OversizedMessagesEndTheSession) {
  const std::string id = create(R"({"ttl":60})");
  RawWebSocket ws = open(id);
  ASSERT_EQ(ws.status(), 101u);
  ws.send(2, std::string((2 << 20) + 1, 'x'));
  const auto close = ws.next();
  ASSERT_TRUE(close);
  EXPECT_EQ(close->close_code(), 1009);
  EXPECT_EQ(close->close_reason(), "read limited at 2097153 bytes");
}

TEST_F(ServerSessions, DestroyingASandboxClosesItsSessions) {
  const std::string id = create(R"({"ttl":60})");
  RawWebSocket ws = open(id);
  ASSERT_EQ(ws.status(), 101u);
  EXPECT_EQ(call("DELETE", "/sandboxes/" + id).status, 204u);
  const auto close = ws.next();
  ASSERT_TRUE(close);
  EXPECT_EQ(close->opcode, 8);
  EXPECT_EQ(close->close_code(), 1000);
}

TEST_F(ServerSessions, FilesGoThroughBothWays) {
  const std::string id = create(R"({"ttl":60})");
  RawWebSocket ws = open(id);
  ASSERT_EQ(ws.status(), 101u);
  const std::string content(1'500'000, 'f');
  ws.text(R"({"jsonrpc":"2.0","id":1,"method":"fs.write","params":{"path":"/root/big","size":1500000,"chunked":true,"chunks":2}})");
  ws.send(2, content.substr(0, 1 << 20));
  ws.send(2, content.substr(1 << 20));
  ASSERT_NE(ws.find("\"id\":1").find("result"), std::string::npos);
  ws.text(R"({"jsonrpc":"2.0","id":2,"method":"fs.read","params":{"path":"/root/big"}})");
  std::string got;
  for (;;) {
    const auto message = ws.next();
    ASSERT_TRUE(message);
    if (message->opcode == 1) break;
    got += message->payload;
  }
  EXPECT_EQ(got, content);
}

TEST_F(ServerSessions, ASandboxIsSavedOverItsSession) {
  const std::string id = create(R"({"ttl":60})");
  RawWebSocket ws = open(id);
  ASSERT_EQ(ws.status(), 101u);
  ws.text(R"({"jsonrpc":"2.0","id":"s","method":"template.save","params":{"label":"mine"}})");
  const std::string reply = ws.find("\"id\":\"s\"", 30s);
  EXPECT_NE(reply.find("\"id\":\"tpl-"), std::string::npos) << reply;
  EXPECT_NE(get("/templates").body.find("\"label\":\"mine\""), std::string::npos);
}

TEST_F(ServerSessions, PlainRequestsAndStrangersAreTurnedAway) {
  const std::string id = create(R"({"ttl":60})");
  EXPECT_EQ(get("/sandboxes/" + id + "/ws").status, 426u);
  EXPECT_EQ(RawWebSocket(socket(), "/sandboxes/sbx-00000000/ws").status(), 404u);
  // On the unix socket an origin says nothing.
  EXPECT_EQ(open(id, "Origin: http://elsewhere\r\n").status(), 101u);
}

TEST_F(ServerSessions, V2IsChosenBySubprotocol) {
  const std::string id = create();
  RawWebSocket ws = open(id, "Sec-WebSocket-Protocol: other, sandbox.v2\r\n");
  ASSERT_EQ(ws.status(), 101u);
  EXPECT_NE(ws.response().find("sandbox.v2"), std::string::npos) << ws.response();
  // Cut off: the sandbox waits although it has no ttl.
  ws.cut();
  ASSERT_TRUE(eventually([&] { return state_of(id) == SandboxState::disconnected; }));
  RawWebSocket again = open(id, "Sec-WebSocket-Protocol: sandbox.v2\r\n");
  ASSERT_EQ(again.status(), 101u);
  EXPECT_EQ(state_of(id), SandboxState::running);
  again.close(1000);
  ASSERT_TRUE(eventually([&] { return state_of(id) != SandboxState::running; }));
}

}  // namespace
}  // namespace sandbox::testing
