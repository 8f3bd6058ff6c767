#pragma once

#include <sys/socket.h>

#include <cstring>
#include <memory>
#include <utility>

#include "backends/fake/agent_thread.hpp"
#include "link/link.hpp"

namespace sandbox::link::test {

using backends::fake::AgentThread;
using protocol::Method;
using session::Channel;

/// Answers at once with its parameters as the result.
class Echo final : public AgentThread::Served {
 public:
  Echo(session::Session& s, session::StreamId id, ByteView params) : Served(s, id) {
    protocol::End record;
    record.result = std::string(as_text(params));
    end(std::move(record));
  }
};

/// Never answers until cancelled.
class Silence final : public AgentThread::Served {
 public:
  using Served::Served;
};

/// Sends as many bytes as its parameters say (decimal), byte i being i mod 251.
class Source final : public AgentThread::Served {
 public:
  Source(session::Session& s, session::StreamId id, ByteView params)
      : Served(s, id), left_(std::stoull(std::string(as_text(params)))), piece_(128 << 10) {
    pump();
  }
  void on_writable(Channel) override { pump(); }

 private:
  void pump() {
    while (left_ > 0) {
      const auto want = std::min<std::uint64_t>(left_, piece_.size());
      for (std::size_t i = 0; i < want; ++i) piece_[i] = static_cast<std::byte>((position_ + i) % 251);
      const auto took = session().send(stream(), Channel::out, ByteView(piece_).first(want), left_ == want);
      left_ -= took;
      position_ += took;
      if (took < want) return;
    }
    end({});
  }
  std::uint64_t left_, position_ = 0;
  std::vector<std::byte> piece_;
};

/// Counts what it gets on `in` and answers with the decimal count.
class Sink final : public AgentThread::Served {
 public:
  using Served::Served;
  void on_data(Channel channel, ByteView data, bool fin) override {
    count_ += data.size();
    session().consumed(stream(), channel, data.size());
    if (!fin) return;
    protocol::End record;
    record.result = std::to_string(count_);
    end(std::move(record));
  }

 private:
  std::uint64_t count_ = 0;
};

inline std::unique_ptr<AgentThread::Served> serve(session::Session& s, session::StreamId id, Method method, ByteView params) {
  switch (method) {
    case Method::env_get: return std::make_unique<Echo>(s, id, params);
    case Method::exec: return std::make_unique<Silence>(s, id);
    case Method::fs_read: return std::make_unique<Source>(s, id, params);
    case Method::fs_write: return std::make_unique<Sink>(s, id);
    default: return nullptr;
  }
}

/// A link and its scripted peer.
struct Pair {
  explicit Pair(aio::Reactor& reactor) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) std::abort();
    peer = std::make_unique<AgentThread>(core::UniqueFd(ends[1]), session::Options(), &serve);
    link = Link::make(socket_stream(core::UniqueFd(ends[0])), session::Options(), reactor);
  }
  std::unique_ptr<AgentThread> peer;
  std::shared_ptr<Link> link;
};

/// Collects one stream.
struct Collector : session::StreamHandler {
  session::Session* session = nullptr;
  session::StreamId id = 0;
  std::string data;
  bool keep = true;
  std::uint64_t bytes = 0;
  bool in_order = true;
  bool finished = false;
  std::optional<protocol::End> end;
  std::optional<Error> lost;

  void open(session::Session& s, Method method, std::string params) {
    session = &s;
    id = s.open(method, std::move(params), this);
  }
  void on_data(Channel channel, ByteView view, bool) override {
    for (const auto byte : view) in_order &= byte == static_cast<std::byte>(bytes++ % 251);
    session->consumed(id, channel, view.size());
  }
  void on_end(const protocol::End& record) override { end = record, finished = true; }
  void on_lost(const Error& error) override { lost.emplace(error), finished = true; }
};

}  // namespace sandbox::link::test
