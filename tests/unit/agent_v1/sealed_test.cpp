#include "unit/agent_v1/harness.hpp"

namespace sandbox::agent::v1::testing {
namespace {

class V1Encrypted : public V1 {
 protected:
  std::string blob(std::string_view plain) { return client->cipher->seal(plain).value(); }
  std::string plain_of(const std::string& sealed) { return client->cipher->open(sealed).value(); }
};

TEST_F(V1Encrypted, ResultsAreEnvelopesAndErrorsAreNot) {
  client->negotiate();
  const auto message = client->answer(client->request("env.set", R"({"key":"a","value":"b"})"));
  const auto* result = message.find("result");
  ASSERT_EQ(result->keys, std::vector<std::string>{"_encrypted"});
  EXPECT_EQ(client->open(*result).kind, json::Kind::object);
  EXPECT_EQ(client->call("env.get", R"({"key":"a"})").text, "b");
  EXPECT_EQ(client->call("env.get", R"({"key":"z"})").kind, json::Kind::null);
  EXPECT_EQ(client->refusal("fs.read", R"({"path":"/etc/shadow"})").second, "access denied: path \"/etc/shadow\" is outside allowed directories");
}

TEST_F(V1Encrypted, AnEmptyEnvelopeIsNoParams) {
  client->negotiate();
  const auto empty = json::Object().text("_encrypted", base64(as_bytes(blob("")))).take();
  client->text(R"({"jsonrpc":"2.0","id":77,"method":"env.list","params":)" + empty + "}");
  EXPECT_EQ(client->open(*client->answer(77).find("result")).kind, json::Kind::object);
  EXPECT_EQ(client->call("env.list", "null").kind, json::Kind::object);
  EXPECT_EQ(client->call("env.list").kind, json::Kind::object);   // params may stay in clear
}

TEST_F(V1Encrypted, WhatDoesNotOpenIsRefused) {
  EXPECT_EQ(client->refusal("env.list", R"({"_encrypted":"AAAA"})").first, -32600);
  client->negotiate();
  const auto refused = [&](std::string text) {
    client->text(R"({"jsonrpc":"2.0","id":9,"method":"env.list","params":{"_encrypted":")" + text + "\"}}");
    return RawClient::refusal_of(client->answer(9));
  };
  std::string changed = blob("{}");
  changed.back() = static_cast<char>(changed.back() ^ 1);
  for (const auto& text : {base64(as_bytes(changed)), std::string("AAAA"), std::string("no base64")}) {
    const auto [code, message] = refused(text);
    EXPECT_EQ(code, -32600);
    EXPECT_TRUE(message.starts_with("e2e decrypt: ")) << message;
  }
}

TEST_F(V1Encrypted, BadKeysAreRefused) {
  EXPECT_TRUE(client->refusal("session.negotiate_e2e", R"({"public_key":"!"})").second.starts_with("decode client public key: "));
  EXPECT_TRUE(client->refusal("session.negotiate_e2e", R"({"public_key":"AAAA"})").second.starts_with("parse client public key: "));
  const std::string zero = base64(as_bytes(std::string(32, '\0')));
  EXPECT_TRUE(client->refusal("session.negotiate_e2e", "{\"public_key\":\"" + zero + "\"}").second.starts_with("parse client public key: "));
  EXPECT_EQ(client->call("env.list").kind, json::Kind::object);   // still in clear
}

TEST_F(V1Encrypted, NegotiatingAgainReplacesTheKey) {
  client->negotiate();
  const auto first = client->cipher;
  const auto pair = crypto::KeyPair::generate().value();
  // In clear both ways, although the connection is encrypted.
  client->text(R"({"jsonrpc":"2.0","id":50,"method":"session.negotiate_e2e","params":{"public_key":")" + base64(pair.public_key()) + "\"}}");
  const auto message = client->answer(50);
  client->cipher = Cipher::agree(pair, as_bytes(*from_base64(message.find("result")->find("public_key")->text))).value();
  EXPECT_EQ(client->call("env.list", "{}").kind, json::Kind::object);
}

TEST_F(V1Encrypted, ContentIsSealedMessageByMessage) {
  client->negotiate();
  const std::string path = root / "in/f";
  const std::string content(kChunk + 1000, 'c');
  const std::size_t piece = kChunk - Cipher::kOverhead;   // so that each blob is 1 MiB
  const int id = client->request("fs.write", at("f", ",\"size\":" + std::to_string(content.size()) + ",\"chunked\":true,\"chunks\":2"));
  client->binary(blob(content.substr(0, piece)));
  client->binary(blob(content.substr(piece)));
  client->answer(id);
  EXPECT_TRUE(Root::content(path) == content);

  const auto result = client->call("fs.read", at("f"));
  EXPECT_EQ(result.find("size")->integer, static_cast<std::int64_t>(content.size()));
  const auto pieces = client->take_binary();
  ASSERT_EQ(pieces.size(), 2u);
  EXPECT_EQ(pieces[0].size(), 1048604u);
  EXPECT_TRUE(plain_of(pieces[0]) + plain_of(pieces[1]) == content);
}

TEST_F(V1Encrypted, EmptyContentIsABlobOneWayAndNothingTheOther) {
  client->negotiate();
  const int id = client->request("fs.write", at("e", ",\"size\":0"));
  client->binary(blob(""));
  client->answer(id);
  EXPECT_TRUE(fs::exists(root / "in/e"));
  client->call("fs.read", at("e"));
  EXPECT_EQ(client->take_binary(), std::vector<std::string>{""});
}

TEST_F(V1Encrypted, ContentInClearIsRefused) {
  client->negotiate();
  const int id = client->request("fs.write", at("f", ",\"size\":5"));
  client->binary("plain");
  EXPECT_TRUE(RawClient::refusal_of(client->answer(id)).second.starts_with("decrypt binary frame: "));
  EXPECT_FALSE(fs::exists(root / "in/f"));
  EXPECT_EQ(client->call("env.list").kind, json::Kind::object);
}

TEST_F(V1Encrypted, NotificationsAreEncryptedAndComeBeforeTheAnswer) {
  client->negotiate();
  const int id = client->request("process.stream", R"({"command":"echo secret"})");
  const auto answer = client->answer(id);
  ASSERT_EQ(client->messages.size(), 1u);
  EXPECT_EQ(client->messages[0].payload.find("secret"), std::string::npos);
  EXPECT_EQ(client->notification("process.output").find("data")->text, "secret\n");
  EXPECT_EQ(client->open(*answer.find("result")).find("exit_code")->integer, 0);
}

TEST_F(V1Encrypted, TerminalOutputIsSealedAndInputIsNot) {
  client->negotiate();
  const auto pid = client->call("process.pty", R"({"command":"read x; echo got $x"})").find("pid")->integer;
  std::string input(4, '\0');
  for (int i = 0; i < 4; ++i) input[static_cast<std::size_t>(i)] = static_cast<char>(pid >> (24 - 8 * i) & 0xff);
  client->binary(input + "word\n");
  client->notification("process.exit");
  std::string shown;
  for (const auto& piece : client->take_binary()) shown += plain_of(piece);
  EXPECT_NE(shown.find("got word"), std::string::npos);
}

TEST_F(V1Encrypted, TheKeyBelongsToTheConnection) {
  client->negotiate();
  client->close();
  ASSERT_TRUE(harness.run_until([&] { return client->stream().end.has_value(); }));
  RawClient plain(harness);
  plain.call("env.set", R"({"key":"a","value":"b"})");
  EXPECT_EQ(plain.call("env.get", R"({"key":"a"})").text, "b");
}

class V1EncryptedResume : public V1Encrypted {
 protected:
  /// An encrypted client starts a program and leaves; its output is kept.
  void leave_a_secret() {
    client->negotiate();
    client->call("process.spawn", R"({"command":"sleep 0.1; echo secret"})");
    client->close();
    client.reset();
    const auto until = core::SteadyClock::now() + 400ms;
    while (core::SteadyClock::now() < until) harness.loop.turn(20ms);
    client = std::make_unique<RawClient>(harness, true);
  }
};

TEST_F(V1EncryptedResume, ReplaysOnceTheNewConnectionIsEncrypted) {
  leave_a_secret();
  for (int i = 0; i < 10; ++i) harness.loop.turn(5ms);
  EXPECT_TRUE(client->messages.empty());   // undecided: not a word yet
  client->negotiate();
  const auto resumed = client->notification("session.resumed");
  EXPECT_EQ(resumed.find("buffered")->integer, 2);
  EXPECT_EQ(resumed.find("truncated")->integer, 0);
  EXPECT_EQ(client->notification("process.stdout").find("data")->text, "c2VjcmV0Cg==");
  EXPECT_EQ(client->notification("process.exit").find("exit_code")->integer, 0);
}

TEST_F(V1EncryptedResume, NeverReplaysInClear) {
  leave_a_secret();
  EXPECT_EQ(client->call("env.list").kind, json::Kind::object);
  const auto resumed = client->notification("session.resumed");
  EXPECT_EQ(resumed.find("buffered")->integer, 0);
  EXPECT_EQ(resumed.find("truncated")->integer, 2);
  EXPECT_TRUE(client->messages.empty());
}

TEST_F(V1EncryptedResume, AClientThatLeavesUndecidedTakesNothingWithIt) {
  leave_a_secret();
  client->close();
  ASSERT_TRUE(harness.run_until([&] { return client->stream().end.has_value(); }));
  client = std::make_unique<RawClient>(harness, true);
  client->negotiate();
  EXPECT_EQ(client->notification("session.resumed").find("buffered")->integer, 2);
}

}  // namespace
}  // namespace sandbox::agent::v1::testing
