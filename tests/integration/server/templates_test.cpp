#include "live_service.hpp"
#include "raw_websocket.hpp"

// Templates over the daemon: whose they are, what they keep, when they go.
namespace sandbox::testing {
namespace {

class ServerTemplates : public LiveService {
 protected:
  server::Config config() override {
    server::Config config = LiveService::config();
    config.limits.max_templates = 2;
    return config;
  }
  void write(const std::string& id, const std::string& text) {
    RawWebSocket ws(socket(), "/sandboxes/" + id + "/ws");
    ASSERT_EQ(ws.status(), 101u);
    ws.text(R"({"jsonrpc":"2.0","id":1,"method":"process.exec","params":{"command":"echo )" + text + R"( > /root/note"}})");
    ASSERT_NE(ws.find("\"id\":1").find("result"), std::string::npos);
  }
  std::string read(const std::string& id) {
    RawWebSocket ws(socket(), "/sandboxes/" + id + "/ws");
    EXPECT_EQ(ws.status(), 101u);
    ws.text(R"({"jsonrpc":"2.0","id":1,"method":"process.exec","params":{"command":"cat /root/note"}})");
    return ws.find("\"id\":1");
  }
};

TEST_F(ServerTemplates, KeepWhatASandboxWrote) {
  const std::string id = create(R"({"ttl":60,"memory":"80m"})");
  write(id, "remembered");
  const auto saved = call("POST", "/templates", R"({"sandbox_id":")" + id + R"(","label":"base"})");
  ASSERT_EQ(saved.status, 201u) << saved.body;
  const ServiceTemplate info = rest::read_template(saved.body).value();
  EXPECT_EQ(info.label, "base");
  EXPECT_EQ(info.id.size(), 12u) << info.id;
  EXPECT_FALSE(info.last_used);
  const auto made = call("POST", "/sandboxes", R"({"ttl":60,"template":")" + info.id + "\"}");
  ASSERT_EQ(made.status, 201u) << made.body;
  const SandboxInfo copy = rest::read_sandbox(made.body).value();
  EXPECT_EQ(copy.template_id, info.id);
  ASSERT_TRUE(copy.spec);
  EXPECT_EQ(copy.spec->limits().memory(), ByteCount::mib(80));
  EXPECT_NE(read(copy.id).find("remembered"), std::string::npos);
  EXPECT_TRUE(rest::read_template(get("/templates/" + info.id).body).value().last_used);
  // Deleted while in use: gone for callers at once, and the sandbox goes on.
  EXPECT_EQ(call("DELETE", "/templates/" + info.id).status, 204u);
  EXPECT_EQ(get("/templates/" + info.id).status, 404u);
  EXPECT_EQ(get("/templates").body, "[]\n");
  EXPECT_EQ(get("/sandboxes/" + copy.id).status, 200u);
}

TEST_F(ServerTemplates, EqualContentsAreTwoTemplates) {
  const std::string id = create();
  const std::string body = R"({"sandbox_id":")" + id + "\"}";
  const std::string first = rest::read_template(call("POST", "/templates", body).body).value().id;
  const std::string second = rest::read_template(call("POST", "/templates", body).body).value().id;
  EXPECT_NE(first, second);
  EXPECT_EQ(call("DELETE", "/templates/" + first).status, 204u);
  EXPECT_EQ(call("POST", "/sandboxes", R"({"template":")" + second + "\"}").status, 201u);
}

TEST_F(ServerTemplates, AreLimitedAndTheirOwners) {
  const http::Headers acme{{"X-Sandbox-Identity", "acme"}, {"X-Sandbox-Max-Templates", "1"}};
  const http::Headers other{{"X-Sandbox-Identity", "other"}};
  const std::string id = rest::read_sandbox(call("POST", "/sandboxes", "{}", acme).body).value().id;
  const std::string body = R"({"sandbox_id":")" + id + "\"}";
  EXPECT_EQ(call("POST", "/templates", "{}", acme).status, 400u);
  EXPECT_EQ(call("POST", "/templates", R"({"sandbox_id":"sbx-none"})", acme).status, 404u);
  EXPECT_EQ(call("POST", "/templates", body, other).status, 404u);
  const auto saved = call("POST", "/templates", body, acme);
  ASSERT_EQ(saved.status, 201u) << saved.body;
  const std::string saved_id = rest::read_template(saved.body).value().id;
  EXPECT_EQ(call("POST", "/templates", body, acme).status, 429u);
  EXPECT_EQ(call("GET", "/templates/" + saved_id, "", other).status, 404u);
  EXPECT_EQ(call("DELETE", "/templates/" + saved_id, "", other).status, 404u);
  // What another tenant saved cannot be made a sandbox of.
  EXPECT_EQ(call("POST", "/sandboxes", R"({"template":")" + saved_id + "\"}", other).status, 404u);
  EXPECT_EQ(call("POST", "/sandboxes", R"({"spec":{"image":")" + saved_id + "\"}}", other).status, 404u);
  // The daemon's own limit of two.
  EXPECT_EQ(call("POST", "/templates", body).status, 201u);
  const auto full = call("POST", "/templates", body);
  EXPECT_EQ(full.status, 503u);
  EXPECT_NE(full.body.find("template limit reached"), std::string::npos);
}

}  // namespace
}  // namespace sandbox::testing
