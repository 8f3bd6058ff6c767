#pragma once

#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "protocol/frame.hpp"
#include "session/session.hpp"

/// Two sessions joined by pipes that a test moves byte by byte, with handlers that remember what they were told.
namespace sandbox::session::test {

/// Why it failed; ErrorCode{} when it did not.
inline ErrorCode code(const Result<void>& result) { return result ? ErrorCode{} : result.error().code(); }

inline std::string text_of(ByteView bytes) { return std::string(as_text(bytes)); }

/// Content that is different at every offset, so that a lost, doubled or moved byte shows.
inline std::string pattern(std::size_t size, std::uint64_t salt = 1) {
  std::string out(size, '\0');
  std::uint64_t state = salt * 0x9e3779b97f4a7c15u + 1;
  for (char& c : out) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    c = static_cast<char>(state >> 24);
  }
  return out;
}

struct RecordingStream : StreamHandler {
  Session* session = nullptr;
  StreamId id = 0;
  bool consume = true;  ///< gives credit back at once
  std::map<Channel, std::string> data;
  std::map<Channel, std::size_t> pieces;
  std::map<Channel, int> fins;
  std::vector<std::string> messages;
  std::vector<protocol::End> ends;
  std::vector<ErrorCode> lost;
  int cancels = 0, writables = 0, drains = 0;
  std::function<void()> when_writable, when_cancelled;
  std::function<void(ByteView)> when_message;
  std::function<void(Channel, ByteView, bool)> when_data;

  void on_message(ByteView message) override {
    EXPECT_TRUE(alive());
    messages.push_back(text_of(message));
    if (when_message) when_message(message);
  }
  void on_data(Channel channel, ByteView bytes, bool fin) override {
    EXPECT_TRUE(alive());
    EXPECT_EQ(fins[channel], 0) << "data after fin";
    data[channel] += as_text(bytes);
    ++pieces[channel];
    fins[channel] += fin;
    if (when_data) when_data(channel, bytes, fin);
    if (consume) session->consumed(id, channel, bytes.size());
  }
  void on_writable(Channel) override {
    ++writables;
    if (when_writable) when_writable();
  }
  void on_drained() override { ++drains; }
  void on_cancel() override {
    ++cancels;
    if (when_cancelled) when_cancelled();
  }
  void on_end(const protocol::End& end) override {
    EXPECT_TRUE(alive());
    ends.push_back(end);
  }
  void on_lost(const Error& error) override {
    EXPECT_TRUE(alive());
    lost.push_back(error.code());
  }
  bool alive() const { return ends.empty() && lost.empty(); }
};

struct RecordingSession : SessionHandler {
  Session* session = nullptr;
  std::optional<protocol::Hello> peer;
  std::vector<std::uint64_t> pongs;
  std::vector<StreamId> closed;
  std::map<StreamId, std::unique_ptr<RecordingStream>> streams;
  std::map<StreamId, protocol::Open> opens;
  std::function<StreamHandler*(StreamId)> when_open;

  void on_ready(const protocol::Hello& hello) override {
    EXPECT_FALSE(peer) << "ready twice";
    peer = hello;
  }
  StreamHandler* on_open(StreamId id, protocol::Method method, ByteView params, std::string_view key) override {
    opens[id] = {method, text_of(params), std::string(key)};
    auto& made = streams[id];
    EXPECT_FALSE(made) << "stream opened twice";
    made = std::make_unique<RecordingStream>();
    made->session = session;
    made->id = id;
    return when_open ? when_open(id) : made.get();
  }
  void on_stream_closed(StreamId id) override { closed.push_back(id); }
  void on_pong(std::uint64_t nonce) override { pongs.push_back(nonce); }
};

struct Pair {
  RecordingSession client_events, agent_events;
  Session client, agent;

  explicit Pair(Options client_options = {}, Options agent_options = {})
      : client(Role::client, named(std::move(client_options), ""), client_events),
        agent(Role::agent, named(std::move(agent_options), "0123456789abcdef"), agent_events) {
    client_events.session = &client;
    agent_events.session = &agent;
  }
  static Options named(Options options, std::string id) {
    options.software = "test";
    options.hello.session_id = std::move(id);
    return options;
  }

  RecordingStream& open(RecordingStream& stream, protocol::Method method = protocol::Method::exec,
                        std::string params = "p", std::string key = {}) {
    stream.session = &client;
    stream.id = client.open(method, std::move(params), &stream, std::move(key));
    return stream;
  }
  RecordingStream& served(const RecordingStream& stream) { return *agent_events.streams.at(stream.id); }

  /// Moves everything both ways until both are quiet, in pieces of at most `piece` bytes. Returns bytes moved.
  std::size_t pump(std::size_t piece = ~std::size_t{0}) {
    std::size_t total = 0;
    for (;;) {
      const std::size_t moved = move(client, agent, piece) + move(agent, client, piece);
      if (moved == 0) return total;
      total += moved;
    }
  }
  /// One piece from one side to the other.
  static std::size_t move(Session& from, Session& to, std::size_t piece) {
    const ByteView out = from.output();
    const std::string copy = text_of(out.first(std::min(piece, out.size())));
    from.sent(copy.size());
    to.receive(as_bytes(copy)).ignore("tests look at failed()");
    return copy.size();
  }
};

/// All frames in `bytes`, which hold whole frames.
struct Frame {
  protocol::FrameHeader header;
  std::string payload;
};
inline std::vector<Frame> frames_in(std::string_view bytes) {
  std::vector<Frame> frames;
  while (bytes.size() >= protocol::kFrameHeader) {
    auto header = protocol::decode_header(as_bytes(bytes), 16 << 20).value();
    frames.push_back({header, std::string(bytes.substr(protocol::kFrameHeader, header.length))});
    bytes.remove_prefix(protocol::kFrameHeader + header.length);
  }
  EXPECT_TRUE(bytes.empty());
  return frames;
}
inline std::string drain(Session& session) {
  std::string all;
  for (;;) {
    const ByteView out = session.output();
    if (out.empty()) return all;
    all += as_text(out);
    session.sent(out.size());
  }
}
inline std::string frame(protocol::FrameHeader header, std::string_view payload = {}) {
  header.length = static_cast<std::uint32_t>(payload.size());
  std::string out(protocol::kFrameHeader, '\0');
  protocol::encode(header, reinterpret_cast<std::byte*>(out.data()));
  return out.append(payload);
}

}  // namespace sandbox::session::test
