// A session against a hostile peer. Byte 0: bit 0 role, 1 compress, 2 resumable, 3 frames are built from short
// descriptions (so that most inputs get past the header checks), 4 small window. Byte 1: fragment size.
#include <cstdlib>
#include <map>
#include <memory>
#include <string>

#include "protocol/frame.hpp"
#include "session/session.hpp"

namespace {

using namespace sandbox;
using session::Channel;
using session::Session;
using session::StreamId;

[[noreturn]] void wrong() { std::abort(); }

/// Checks what every handler may rely on, and answers back as an operation would.
struct Stream : session::StreamHandler {
  Session* session = nullptr;
  StreamId id = 0;
  bool agent = false, over = false;
  std::map<Channel, bool> fins;

  void alive() const {
    if (over) wrong();
  }
  void on_message(ByteView message) override {
    alive();
    if (!session->send_message(id, std::string(as_text(message)))) wrong();
  }
  void on_data(Channel channel, ByteView data, bool fin) override {
    alive();
    if (std::exchange(fins[channel], fin)) wrong();
    if (data.size() % 3 != 0) session->consumed(id, channel, data.size());
    session->send(id, agent ? Channel::out : Channel::in, data.first(std::min<std::size_t>(data.size(), 100)), false);
    if (fin && agent) session->end(id, {.result = "done"});
  }
  void on_writable(Channel channel) override { session->send(id, channel, as_bytes("more")); }
  void on_cancel() override {
    alive();
    session->end(id, {.code = 10});
  }
  void on_end(const protocol::End&) override {
    alive();
    over = true;
  }
  void on_lost(const Error& error) override {
    alive();
    over = true;
    error.ignore("expected");
  }
};

struct Events : session::SessionHandler {
  Session* session = nullptr;
  std::map<StreamId, std::unique_ptr<Stream>> streams;
  Stream* add(StreamId id, bool agent) {
    auto& stream = streams[id];
    if (stream) wrong();
    stream = std::make_unique<Stream>();
    stream->session = session;
    stream->id = id;
    stream->agent = agent;
    return stream.get();
  }
  session::StreamHandler* on_open(StreamId id, protocol::Method method, ByteView params, std::string_view) override {
    if (method == protocol::Method::none) return nullptr;
    Stream* stream = add(id, true);
    session->send(id, Channel::err, params);
    return stream;
  }
  void on_stream_closed(StreamId id) override { streams.erase(id); }
};

std::string frame(protocol::FrameHeader header, std::string_view payload) {
  header.length = static_cast<std::uint32_t>(payload.size());
  std::string out(protocol::kFrameHeader, '\0');
  protocol::encode(header, reinterpret_cast<std::byte*>(out.data()));
  return out.append(payload);
}

std::string described(std::string_view input) {
  protocol::Hello hello;
  hello.session_id = "s";
  hello.window = 300;
  hello.max_frame = 1 << 16;
  hello.resumable = true;
  hello.capabilities = {"zstd"};
  std::string out = frame({.type = protocol::FrameType::hello}, encode(hello));
  while (input.size() >= 4) {
    const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(input[i]); };
    protocol::FrameHeader header;
    header.type = static_cast<protocol::FrameType>(byte(0) & 15);
    header.flags = byte(0) >> 4 & 3;
    header.channel = byte(0) >> 6;
    header.stream = byte(1) & 7;
    header.offset = byte(2);
    const std::size_t length = std::min<std::size_t>(byte(3), input.size() - 4);
    std::string payload(input.substr(4, length));
    if (header.type == protocol::FrameType::open && byte(1) & 8) {
      payload = encode(protocol::Open{.method = protocol::Method::exec, .params = payload});
    }
    out += frame(header, payload);
    input.remove_prefix(4 + length);
  }
  return out;
}

void drain(Session& session, std::size_t limit) {
  for (int i = 0; i < 1000; ++i) {
    const ByteView out = session.output();
    if (out.empty()) return;
    session.sent(std::min(out.size(), limit));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::uint8_t mode = data[0];
  const std::size_t fragment = data[1] % 64u + 1;
  std::string input(reinterpret_cast<const char*>(data + 2), size - 2);
  if (mode & 8) input = described(input);

  session::Options options;
  options.hello.session_id = "s";
  options.compress = mode & 2;
  options.resumable = mode & 4;
  options.window = mode & 16 ? 64 : 1 << 20;
  options.max_data = 50;
  options.send_queue = 200;
  options.max_streams = 3;
  Events events;
  const bool agent = mode & 1;
  Session session(agent ? session::Role::agent : session::Role::client, options, events);
  events.session = &session;
  if (!agent) {
    for (StreamId id = 1; id <= 3; ++id) {
      Stream* stream = events.add(id, false);
      session.open(protocol::Method::exec, "params", stream);
      session.send(id, Channel::in, as_bytes(std::string(100, 'x')));
    }
  }
  for (std::size_t at = 0; at < input.size() && !session.failed(); at += fragment) {
    session.receive(as_bytes(std::string_view(input).substr(at, fragment))).ignore("expected");
    if (at / fragment % 3 == 0) drain(session, 37);
    if (mode & 32 && at / fragment % 7 == 6) {
      session.disconnected();
      session.resume().ignore("not every session can be");
    }
  }
  drain(session, 1 << 20);
  session.fail(Error(ErrorCode::unavailable, "the end"));
  for (auto& [id, stream] : events.streams) {
    if (!stream->over) wrong();  // each stream was told once
  }
  return 0;
}
