// One core through a session: encode and decode of DATA, and the price of a small round trip.
#include <benchmark/benchmark.h>

#include "session/endpoint.hpp"

namespace {

using namespace sandbox;
using session::Channel;
using session::Session;

struct Sink : session::StreamHandler {
  Session* session = nullptr;
  session::StreamId id = 0;
  std::uint64_t bytes = 0;
  bool ended = false;
  void on_data(Channel channel, ByteView data, bool) override {
    bytes += data.size();
    benchmark::DoNotOptimize(data.data());
    session->consumed(id, channel, data.size());
  }
  void on_end(const protocol::End&) override { ended = true; }
};
struct Agent : session::SessionHandler {
  Session* session = nullptr;
  Sink sink;
  session::StreamHandler* on_open(session::StreamId id, protocol::Method, ByteView, std::string_view) override {
    sink.session = session;
    sink.id = id;
    return &sink;
  }
};

template <class End>
bool move(End& from, End& to) {
  bool moved = false;
  for (;;) {
    const ByteView out = from.output();
    if (out.empty()) return moved;
    to.receive(out).value();
    from.sent(out.size());
    moved = true;
  }
}

void transfer(benchmark::State& state, session::Options options) {
  Agent agent_events;
  session::SessionHandler client_events;
  Session client(session::Role::client, options, client_events), agent(session::Role::agent, options, agent_events);
  agent_events.session = &agent;
  session::StreamHandler handler;
  const auto id = client.open(protocol::Method::fs_write, "", &handler);
  while (move(client, agent) | move(agent, client)) {
  }
  const std::string content(static_cast<std::size_t>(state.range(0)), 'x');
  for (auto _ : state) {
    std::size_t sent = 0;
    while (sent < content.size()) {
      sent += client.send(id, Channel::in, as_bytes(std::string_view(content).substr(sent)));
      move(client, agent);
      move(agent, client);
    }
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(agent_events.sink.bytes));
}

void plain(benchmark::State& state) { transfer(state, {}); }
void resumable(benchmark::State& state) {
  session::Options options;
  options.resumable = true;
  transfer(state, options);
}
BENCHMARK(plain)->Arg(1)->Arg(4096)->Arg(128 << 10)->Arg(1 << 20);
BENCHMARK(resumable)->Arg(128 << 10);

/// The whole sealed path on one core: send, seal, open, receive.
void sealed(benchmark::State& state) {
  Agent agent_events;
  session::SessionHandler client_events;
  Session client(session::Role::client, {}, client_events), agent(session::Role::agent, {}, agent_events);
  agent_events.session = &agent;
  session::StreamHandler handler;
  auto channel = crypto::SecureChannel::client({});
  if (!channel) {
    state.SkipWithError(channel.error().message().c_str());
    return;
  }
  session::Endpoint near(client, std::move(channel).value());
  session::Endpoint far(agent, crypto::SecureChannel::agent({Identity::generate().value(), {}, {}}).value());
  const auto id = client.open(protocol::Method::fs_write, "", &handler);
  while (move(near, far) | move(far, near)) {
  }
  const std::string content(static_cast<std::size_t>(state.range(0)), 'x');
  for (auto _ : state) {
    std::size_t sent = 0;
    while (sent < content.size()) {
      sent += client.send(id, Channel::in, as_bytes(std::string_view(content).substr(sent)));
      move(near, far);
      move(far, near);
    }
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(agent_events.sink.bytes));
}
BENCHMARK(sealed)->Arg(1)->Arg(4096)->Arg(128 << 10)->Arg(1 << 20);

/// One half each: what a core at either end pays.
void seal(benchmark::State& state) {
  auto client = crypto::SecureChannel::client({}).value();
  auto agent = crypto::SecureChannel::agent({Identity::generate().value(), {}, {}}).value();
  const auto none = [](ByteView) -> Result<void> { return {}; };
  agent.receive(client.output(), none).value();
  client.sent(client.output().size());
  client.receive(agent.output(), none).value();
  client.sent(client.output().size());
  const std::string content(static_cast<std::size_t>(state.range(0)), 'x');
  for (auto _ : state) {
    client.seal(as_bytes(content)).value();
    client.sent(client.output().size());
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) * state.range(0));
}
BENCHMARK(seal)->Arg(128 << 10);

void handshake(benchmark::State& state) {
  const Identity identity = Identity::generate().value();
  const auto none = [](ByteView) -> Result<void> { return {}; };
  for (auto _ : state) {
    auto client = crypto::SecureChannel::client({.pin = identity.fingerprint()}).value();
    auto agent = crypto::SecureChannel::agent({identity, {}, {}}).value();
    agent.receive(client.output(), none).value();
    client.sent(client.output().size());
    client.receive(agent.output(), none).value();
    agent.receive(client.output(), none).value();
  }
}
BENCHMARK(handshake);

void open_to_end(benchmark::State& state) {
  Agent agent_events;
  session::SessionHandler client_events;
  Session client(session::Role::client, {}, client_events), agent(session::Role::agent, {}, agent_events);
  agent_events.session = &agent;
  Sink handler;
  handler.session = &client;
  for (auto _ : state) {
    const auto id = client.open(protocol::Method::fs_read, "path", &handler);
    move(client, agent);
    agent.send(id, Channel::out, as_bytes("x"), true);
    agent.end(id, {});
    move(agent, client);
  }
  if (!handler.ended) state.SkipWithError("no end arrived");
}
BENCHMARK(open_to_end);

}  // namespace

BENCHMARK_MAIN();
