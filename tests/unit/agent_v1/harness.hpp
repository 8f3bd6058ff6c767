#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <deque>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "agent/sessions.hpp"
#include "agent/v1/e2e.hpp"
#include "agent/v1/json.hpp"
#include "agent/v1/text.hpp"
#include "unit/agent/harness.hpp"

/// A client of the v1 dialect as raw as they come, on a stream of a real agent with real processes and files.
namespace sandbox::agent::v1::testing {

using namespace std::chrono_literals;
using agent::testing::Call;
using agent::testing::Harness;
namespace fs = std::filesystem;

inline std::string frame(char type, std::string_view payload) {
  std::string out(1, type);
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(payload.size() >> shift & 0xff);
  return out.append(payload);
}

struct Message {
  bool binary = false;
  std::string payload;
  json::Value json;   ///< of text
};

class RawClient {
 public:
  explicit RawClient(Harness& harness, bool resumed = false, std::string sandbox = "sbx-test") : harness_(harness), stream_(*this) {
    protocol::SessionRequest request;
    request.dialect = "v1";
    request.resumed = resumed;
    request.sandbox = std::move(sandbox);
    stream_.session = &harness.client->session;
    stream_.id = stream_.session->open(protocol::Method::session, protocol::encode(request), &stream_);
  }
  ~RawClient() { harness_.client->session.detach(stream_.id); }

  void send(char type, std::string_view payload) { stream_.feed(frame(type, payload), false); }
  void send_raw(std::string bytes) { stream_.feed(std::move(bytes), false); }
  void text(std::string_view json) { send(1, json); }
  void binary(std::string_view bytes) { send(2, bytes); }
  void close() { stream_.feed({}, true); }
  void cancel() { stream_.session->cancel(stream_.id); }

  /// A request; `params` is JSON, or empty for none. Returns its id.
  int request(std::string_view method, std::string_view params = {}) {
    const int id = next_id_++;
    json::Object message;
    message.text("jsonrpc", "2.0").number("id", id).text("method", method);
    if (!params.empty()) message.raw("params", cipher ? seal(params) : std::string(params));
    text(message.take());
    return id;
  }
  std::string seal(std::string_view plain) {
    const auto blob = cipher->seal(plain).value();
    return json::Object().text("_encrypted", base64(as_bytes(blob))).take();
  }
  /// Waits for the answer to `id` and returns the whole message; messages before it stay in `messages`.
  json::Value answer(int id, core::Duration limit = 20s) {
    json::Value found;
    const bool came = harness_.run_until([&] {
      if (found.is(json::Kind::object)) return true;
      for (auto at = messages.begin(); at != messages.end(); ++at) {
        const auto* number = at->json.find("id");
        if (at->binary || !number || number->integer != id) continue;
        found = at->json;
        messages.erase(at);
        return true;
      }
      return stream_.end.has_value();
    }, limit);
    if (!came || !found.is(json::Kind::object)) ADD_FAILURE() << "no answer to request " << id;
    return found;
  }
  /// The result of a request, decrypted. Fails the test when it was refused.
  json::Value call(std::string_view method, std::string_view params = {}) {
    const json::Value message = answer(request(method, params));
    if (const auto* error = message.find("error")) {
      ADD_FAILURE() << method << ": " << error->find("message")->text;
      return {};
    }
    return open(result_of(message));
  }
  /// The error of a request: its code and text.
  std::pair<std::int64_t, std::string> refusal(std::string_view method, std::string_view params = {}) {
    return refusal_of(answer(request(method, params)));
  }
  static std::pair<std::int64_t, std::string> refusal_of(const json::Value& message) {
    const auto* error = message.find("error");
    if (!error) {
      ADD_FAILURE() << "not refused";
      return {};
    }
    return {error->find("code")->integer, error->find("message")->text};
  }
  static json::Value result_of(const json::Value& message) {
    for (std::size_t i = 0; i < message.keys.size(); ++i)
      if (message.keys[i] == "result") return message.items[i];
    ADD_FAILURE() << "no result";
    return {};
  }
  json::Value open(const json::Value& value) {
    const auto* sealed = value.find("_encrypted");
    if (!cipher || !sealed) return value;
    return json::parse(cipher->open(*from_base64(sealed->text)).value()).value();
  }
  /// Negotiates; what follows is encrypted.
  void negotiate() {
    const auto pair = crypto::KeyPair::generate().value();
    const auto result = call("session.negotiate_e2e", json::Object().text("public_key", base64(pair.public_key())).take());
    cipher = Cipher::agree(pair, as_bytes(*from_base64(result.find("public_key")->text))).value();
  }
  /// Waits for a notification of `method` (which is taken) and returns its params, decrypted.
  json::Value notification(std::string_view method, core::Duration limit = 20s) {
    json::Value params;
    bool taken = false;
    const bool came = harness_.run_until([&] {
      if (taken) return true;
      for (auto at = messages.begin(); at != messages.end(); ++at) {
        const auto* name = at->json.find("method");
        if (at->binary || !name || name->text != method) continue;
        params = open(*at->json.find("params"));
        messages.erase(at);
        return taken = true;
      }
      return false;
    }, limit);
    if (!came) ADD_FAILURE() << "no notification " << method;
    return params;
  }
  /// All binary messages so far, taken.
  std::vector<std::string> take_binary() {
    std::vector<std::string> all;
    std::deque<Message> rest;
    for (auto& message : messages) {
      if (message.binary) all.push_back(std::move(message.payload));
      else rest.push_back(std::move(message));
    }
    messages = std::move(rest);
    return all;
  }
  Call& stream() { return stream_; }

  std::deque<Message> messages;
  std::shared_ptr<const Cipher> cipher;

 private:
  struct Stream : Call {
    explicit Stream(RawClient& owner) : owner_(owner) {}
    void on_data(session::Channel channel, ByteView data, bool fin) override {
      Call::on_data(channel, data, fin);
      owner_.parse();
    }
    RawClient& owner_;
  };
  void parse() {
    std::string& in = stream_.out;
    std::size_t at = 0;
    while (in.size() - at >= 5) {
      std::size_t size = 0;
      for (std::size_t i = 1; i < 5; ++i) size = size << 8 | static_cast<unsigned char>(in[at + i]);
      if (in.size() - at < 5 + size) break;
      ASSERT_LE(size, 10u << 20);
      Message message{in[at] == 2, in.substr(at + 5, size), {}};
      if (!message.binary) message.json = json::parse(message.payload).value();
      messages.push_back(std::move(message));
      at += 5 + size;
    }
    in.erase(0, at);
  }

  Harness& harness_;
  Stream stream_;
  int next_id_ = 1;
};

/// A directory of the test's own, which the agent permits.
class Root {
 public:
  Root() {
    std::string name = "/tmp/agent_v1.XXXXXX";
    if (!::mkdtemp(name.data())) std::abort();
    path = name;
  }
  ~Root() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
  std::string operator/(std::string_view name) const { return path + "/" + std::string(name); }
  static std::string content(const std::string& file) {
    std::ifstream in(file, std::ios::binary);
    std::ostringstream text;
    text << in.rdbuf();
    return text.str();
  }
  void write(std::string_view name, std::string_view text) const { std::ofstream(*this / name, std::ios::binary) << text; }
  std::string path;
};

class V1 : public ::testing::Test {
 protected:
  V1() : harness(settings()), client(std::make_unique<RawClient>(harness)) {}
  ~V1() override { client.reset(); }

  Agent::Settings settings() {
    auto made = Harness::default_settings();
    made.environment.set("SANDBOX_FS_ALLOWED", root.path + "/in:" + root.path + "/also").value();
    made.workdir = root.path;
    fs::create_directory(root.path + "/in");
    fs::create_directory(root.path + "/also");
    return made;
  }
  /// {"path":"<below in>", …more}
  std::string at(std::string_view name, std::string_view more = {}) const {
    std::string json = "{\"path\":";
    json::append_string(json, root.path + "/in/" + std::string(name));
    return json.append(more) + "}";
  }

  Root root;
  Harness harness;
  std::unique_ptr<RawClient> client;
};

}  // namespace sandbox::agent::v1::testing
