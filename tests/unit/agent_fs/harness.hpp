#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "agent/server.hpp"
#include "session/session.hpp"

/// A client and a real agent on one thread, joined by a socketpair: every call turns both until it has its END.
namespace sandbox::agent::testing {

namespace fs = std::filesystem;
using protocol::Method;

/// A directory that is gone when the test is.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    // Memory where there is some: thousands of files on a busy disk take a minute.
    const bool memory = ::access("/dev/shm", W_OK) == 0 && !::getenv("TMPDIR");
    std::string name = ((memory ? fs::path("/dev/shm") : fs::temp_directory_path()) / "sandbox-agent-fs-XXXXXX").string();
    if (!::mkdtemp(name.data())) ADD_FAILURE() << "mkdtemp failed";
    path_ = name;
  }
  ~TemporaryDirectory() {
    // The tree may be deeper than std::filesystem can remove: rm knows how.
    (void)!::system(("chmod -R u+rwx '" + path_ + "' 2>/dev/null; rm -rf '" + path_ + "'").c_str());
  }
  const std::string& path() const { return path_; }
  std::string operator/(std::string_view name) const { return path_ + "/" + std::string(name); }

 private:
  std::string path_;
};

inline std::string slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
inline void spit(const std::string& path, std::string_view content) {
  std::ofstream(path, std::ios::binary) << content;
}
inline mode_t mode_of(const std::string& path) {
  struct stat info{};
  return ::lstat(path.c_str(), &info) == 0 ? info.st_mode & 07777 : 0;
}

/// One stream, as the client sees it.
struct Call : session::StreamHandler {
  session::Session* session = nullptr;
  session::StreamId stream = 0;
  std::string out;
  std::uint64_t out_size = 0;
  bool keep = true;        ///< keep the bytes of `out`
  bool hold = false;       ///< give no credit back
  std::uint64_t held = 0;
  std::vector<std::string> messages;
  std::optional<protocol::End> end;
  std::optional<Error> lost;
  std::function<void(Call&)> feed;  ///< called while the stream may take input

  ~Call() override {
    if (session && !end && !lost) session->detach(stream);
  }
  void on_message(ByteView message) override { messages.emplace_back(as_text(message)); }
  void on_data(session::Channel channel, ByteView data, bool) override {
    out_size += data.size();
    if (keep) out += as_text(data);
    if (hold) held += data.size();
    else session->consumed(stream, channel, data.size());
  }
  void on_end(const protocol::End& e) override { end = e; }
  void on_lost(const Error& error) override {
    error.ignore("seen by the test");
    lost = error;
  }

  bool ok() const { return end && end->code == 0; }
  ErrorCode code() const { return end ? static_cast<ErrorCode>(end->code) : ErrorCode{}; }
  template <protocol::Message T>
  T result() const {
    auto decoded = protocol::decode<T>(as_bytes(end ? end->result : std::string()));
    EXPECT_TRUE(decoded);
    return decoded ? *decoded : T{};
  }
  std::vector<protocol::FsEntry> entries() const {
    std::vector<protocol::FsEntry> all;
    for (const auto& message : messages) {
      auto batch = protocol::decode<protocol::FsEntries>(as_bytes(message));
      EXPECT_TRUE(batch);
      EXPECT_LE(batch->entries.size(), 256u);
      all.insert(all.end(), batch->entries.begin(), batch->entries.end());
    }
    return all;
  }
  std::vector<protocol::FsEvent> events() const {
    std::vector<protocol::FsEvent> all;
    for (const auto& message : messages) {
      auto batch = protocol::decode<protocol::FsEvents>(as_bytes(message));
      EXPECT_TRUE(batch);
      all.insert(all.end(), batch->events.begin(), batch->events.end());
    }
    return all;
  }
};

class Harness : public session::SessionHandler {
 public:
  Harness() : agent_(loop_, Agent::Settings{}), client_(session::Role::client, client_options(), *this) {
    ::signal(SIGXFSZ, SIG_IGN);
    int pair[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0) ADD_FAILURE() << "socketpair";
    socket_.reset(pair[0]);
    auto options = session_options();
    server_ = std::make_unique<SocketServer>(agent_, core::UniqueFd(pair[1]), std::move(options),
                                             [](const Error& error) { error.ignore("the test ends"); });
    EXPECT_TRUE(server_->start());
  }
  ~Harness() override { client_.fail(Error(ErrorCode::cancelled, "test over")); }

  session::Session& client() { return client_; }
  Loop& loop() { return loop_; }

  /// Moves bytes both ways once. `read`: whether the client reads.
  void turn(bool read = true) {
    for (;;) {
      const auto bytes = client_.output();
      if (bytes.empty()) break;
      const auto sent = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) break;
      client_.sent(static_cast<std::size_t>(sent));
    }
    loop_.turn(std::chrono::milliseconds(1));
    if (!read) return;
    for (int i = 0; i < 16; ++i) {
      const auto got = ::recv(socket_.get(), buffer_.data(), buffer_.size(), 0);
      if (got <= 0) break;
      const auto received = client_.receive(std::as_bytes(std::span(buffer_.data(), static_cast<std::size_t>(got))));
      EXPECT_TRUE(received) << received.error().to_string();
      if (!received) return;
    }
  }

  template <protocol::Message T>
  std::unique_ptr<Call> open(Method method, const T& request) {
    auto call = std::make_unique<Call>();
    call->session = &client_;
    call->stream = client_.open(method, protocol::encode(request), call.get());
    return call;
  }
  void wait(Call& call, std::chrono::seconds limit = std::chrono::seconds(60)) {
    wait_until([&] { return call.end || call.lost; }, &call, limit);
  }
  bool wait_until(const std::function<bool()>& done, Call* call = nullptr, std::chrono::seconds limit = std::chrono::seconds(60)) {
    const auto until = std::chrono::steady_clock::now() + limit;
    while (!done()) {
      if (std::chrono::steady_clock::now() > until) {
        ADD_FAILURE() << "no answer in time";
        return false;
      }
      if (call && call->feed && !call->end) call->feed(*call);
      turn();
    }
    return true;
  }
  template <protocol::Message T>
  std::unique_ptr<Call> run(Method method, const T& request) {
    auto call = open(method, request);
    wait(*call);
    return call;
  }
  /// Opens, sends `input` and the fin, waits.
  template <protocol::Message T>
  std::unique_ptr<Call> run(Method method, const T& request, std::string_view input, std::size_t piece = 1 << 20) {
    auto call = open(method, request);
    bool fin = false;
    call->feed = [&, input](Call& c) mutable {
      while (!fin) {
        const auto part = input.substr(0, piece);
        const bool last = part.size() == input.size();
        const auto took = client_.send(c.stream, session::Channel::in, as_bytes(part), last);
        input.remove_prefix(took);
        if (took < part.size()) break;
        fin = last;
      }
    };
    wait(*call);
    call->feed = nullptr;
    return call;
  }

  // Shorthands.
  std::unique_ptr<Call> read(std::string path) { return run(Method::fs_read, protocol::FsReadRequest{std::move(path), 0, {}}); }
  std::unique_ptr<Call> write(std::string path, std::string_view content) {
    protocol::FsWriteRequest request;
    request.path = std::move(path);
    return run(Method::fs_write, request, content);
  }
  std::unique_ptr<Call> remove(std::string path, bool recursive, bool missing_ok = false) {
    return run(Method::fs_remove, protocol::FsRemoveRequest{std::move(path), recursive, missing_ok});
  }
  std::unique_ptr<Call> tar_in(std::string path, std::string_view tar, std::size_t piece = 1 << 20) {
    return run(Method::fs_tar_in, protocol::FsTarRequest{std::move(path)}, tar, piece);
  }
  std::unique_ptr<Call> tar_out(std::string path) { return run(Method::fs_tar_out, protocol::FsTarRequest{std::move(path)}); }
  std::unique_ptr<Call> copy(std::string from, std::string to, bool recursive = false) {
    protocol::FsPairRequest request;
    request.from = std::move(from);
    request.to = std::move(to);
    request.recursive = recursive;
    return run(Method::fs_copy, request);
  }

 private:
  static session::Options client_options() {
    session::Options options;
    options.software = "test/0";
    return options;
  }
  Loop loop_;
  Agent agent_;
  core::UniqueFd socket_;
  std::unique_ptr<SocketServer> server_;
  session::Session client_;
  std::vector<char> buffer_ = std::vector<char>(256 << 10);
};

/// Base of the tests here: an agent and an empty directory.
class AgentFs : public ::testing::Test {
 protected:
  TemporaryDirectory dir;
  Harness agent;

  /// What is in `path`, sorted; for "nothing was left behind".
  static std::vector<std::string> names(const std::string& path) {
    std::vector<std::string> all;
    for (const auto& entry : fs::directory_iterator(path)) all.push_back(entry.path().filename().string());
    std::sort(all.begin(), all.end());
    return all;
  }
};

}  // namespace sandbox::agent::testing
