#include "agent/v1/fetch.hpp"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "agent/children.hpp"
#include "agent/v1/http_text.hpp"
#include "agent/v1/params.hpp"
#include "agent/v1/state.hpp"
#include "agent/v1/text.hpp"

#ifndef SYS_close_range
#define SYS_close_range 436
#endif

namespace sandbox::agent::v1 {
namespace {

constexpr std::string_view kInternal = "requests to private/internal addresses are not allowed";

/// What the child says first, one byte; more follows.
enum Word : char { kResponse = 'R', kAddress = 'A', kRefused = 'P', kError = 'E' };

bool write_all(int fd, std::string_view bytes) noexcept {
  while (!bytes.empty()) {
    const ssize_t count = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
  return true;
}

/// In a child of its own: looks the host up and, unless it is only asked for the address, talks to it. What happens goes to
/// `out`. May block; the agent kills it when its time is over.
void converse(int out, const Url& url, const std::string& request, bool only_address, bool permit_internal) {
  const auto say = [out](char word, std::string_view text) { write_all(out, word + std::string(text)); };
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  const int failed = ::getaddrinfo(url.host.c_str(), std::to_string(url.port).c_str(), &hints, &found);
  if (failed != 0) return say(kError, "lookup " + url.host + ": " + (failed == EAI_NONAME ? "no such host" : ::gai_strerror(failed)));
  bool refused = false;
  std::string problem = "no address";
  for (const addrinfo* at = found; at; at = at->ai_next) {
    if (!permit_internal && is_internal(at->ai_addr)) {
      refused = true;
      continue;
    }
    if (only_address) {
      char text[INET6_ADDRSTRLEN] = {};
      const void* address = at->ai_family == AF_INET ? static_cast<const void*>(&reinterpret_cast<const sockaddr_in*>(at->ai_addr)->sin_addr)
                                                     : &reinterpret_cast<const sockaddr_in6*>(at->ai_addr)->sin6_addr;
      ::inet_ntop(at->ai_family, address, text, sizeof text);
      return say(kAddress, text);
    }
    const core::UniqueFd socket(::socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!socket || ::connect(socket.get(), at->ai_addr, at->ai_addrlen) != 0) {
      problem = "dial tcp " + url.authority() + ": connect: " + os_text(errno);
      continue;
    }
    say(kResponse, {});
    if (!write_all(socket.get(), request)) return;
    char buffer[16384];
    for (;;) {
      const ssize_t count = ::recv(socket.get(), buffer, sizeof buffer, 0);
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0 || !write_all(out, {buffer, static_cast<std::size_t>(count)})) return;
    }
  }
  if (refused) return say(kRefused, {});
  say(kError, problem);
}

}  // namespace

class Fetch final : private ChildListener, private session::StreamHandler {
 public:
  Fetch(Fetches& owner, Caller caller) : owner_(owner), caller_(std::move(caller)) {}
  ~Fetch() override {
    if (timer_) state().loop().cancel_timer(timer_);
    stop();
  }

  void start(Url url, std::string method, std::vector<protocol::KeyValue> headers, std::string body) {
    url_ = std::move(url);
    method_ = std::move(method);
    headers_ = std::move(headers);
    std::erase_if(headers_, [](const protocol::KeyValue& header) { return is_framing_header(header.key); });
    body_ = std::move(body);
    timer_ = state().loop().at(core::SteadyClock::now() + Fetches::kTimeout, [this] {
      timer_ = 0;
      fail("http request: context deadline exceeded (Client.Timeout exceeded while awaiting headers)");
    });
    hop();
  }

 private:
  State& state() noexcept { return owner_.state_; }

  void fail(std::string_view text) {
    state().refuse(caller_, text);
    finish();
  }
  void finish() {
    if (timer_) state().loop().cancel_timer(std::exchange(timer_, 0));
    stop();
    owner_.ended(*this);
  }
  void broken(std::string_view text) { fail("http request: " + std::string(text)); }

  /// Asks url_.
  void hop() {
    auto request = format_request(method_, url_, headers_, body_);
    if (!request) return broken(request.error().message());
    reader_.emplace(method_ == "HEAD");
    word_ = 0;
    said_.clear();
    // A socketpair, because writing to one whose reader is gone is no signal.
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) return broken(os_text(errno));
    core::UniqueFd ours(ends[0]), theirs(ends[1]);
    ::fcntl(theirs.get(), F_SETFL, 0);
    const pid_t pid = ::fork();
    if (pid == 0) {
      // Nothing of the agent stays open here: who waits for the end of a pipe must not wait for this.
      const auto keep = static_cast<unsigned>(theirs.get());
      if (keep > 0) ::syscall(SYS_close_range, 0U, keep - 1, 0U);
      ::syscall(SYS_close_range, keep + 1, ~0U, 0U);
      sigset_t none;
      sigemptyset(&none);
      ::sigprocmask(SIG_SETMASK, &none, nullptr);
      converse(static_cast<int>(keep), url_, *request, url_.secure, owner_.permit_internal_);
      ::_exit(0);
    }
    if (pid < 0) return broken(os_text(errno));
    pid_ = pid;
    state().agent().children().add(pid, this);
    pipe_ = std::move(ours);
    auto watched = state().loop().watch(pipe_.get(), EPOLLIN, [this](std::uint32_t) { read(); });
    if (!watched) broken(watched.error().message());
  }

  void on_exit(int, const rusage&) override { pid_ = 0; }

  void read() {
    char buffer[16384];
    const ssize_t count = ::recv(pipe_.get(), buffer, sizeof buffer, MSG_DONTWAIT);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
    std::string_view bytes(buffer, count > 0 ? static_cast<std::size_t>(count) : 0);
    if (word_ == 0 && !bytes.empty()) {
      word_ = bytes.front();
      bytes.remove_prefix(1);
    }
    if (word_ != kResponse) {
      said_ += bytes.substr(0, 1024 - std::min<std::size_t>(said_.size(), 1024));
      if (count > 0) return;
      stop();
      if (word_ == kRefused) return fail(kInternal);
      if (word_ == kAddress) return use_curl();
      return broken(word_ == kError ? said_ : "the connection could not be made");
    }
    take(bytes, count <= 0);
  }

  void take(std::string_view bytes, bool end) {
    auto done = reader_->feed(bytes);
    if (!done) return broken(done.error().message());
    if (!*done) {
      if (!end) return;
      if (auto finished = reader_->finish(); !finished) return broken(finished.error().message());
    }
    stop();
    respond();
  }

  /// Gives up the current hop.
  void stop() {
    if (pipe_) state().loop().unwatch(pipe_.get());
    pipe_.reset();
    if (pid_ != 0) {
      state().agent().children().forget(pid_);
      ::kill(std::exchange(pid_, 0), SIGKILL);
    }
    if (stream_ != 0) {
      state().loopback().cancel(stream_);
      state().loopback().detach(std::exchange(stream_, 0));
    }
  }

  void use_curl() {
    protocol::ExecRequest exec;
    const std::string address = said_.find(':') == said_.npos ? said_ : "[" + said_ + "]";
    // -q: no .curlrc; nothing of this goes through a shell. The body comes on stdin.
    exec.argv = {"curl", "-q", "-sS", "-i", "--raw", "--http1.1", "--noproxy", "*", "--proto", "=https", "--max-time", "30", "--resolve",
                 url_.host + ":" + std::to_string(url_.port) + ":" + address};
    if (method_ == "HEAD") exec.argv.push_back("--head");
    else exec.argv.insert(exec.argv.end(), {"-X", method_});
    for (const auto& [name, value] : headers_) exec.argv.insert(exec.argv.end(), {"-H", name + (value.empty() ? ";" : ": " + value)});
    exec.argv.insert(exec.argv.end(), {"-H", "Expect:"});
    if (!body_.empty()) exec.argv.insert(exec.argv.end(), {"--data-binary", "@-"});
    exec.argv.insert(exec.argv.end(), {"--", url_.text()});
    exec.stdin_open = !body_.empty();
    said_.clear();
    input_at_ = 0;
    const session::StreamId opened = state().loopback().open(protocol::Method::exec, protocol::encode(exec), this);
    if (opened == 0) return;   // refused, and answered
    stream_ = opened;
    push_input();
  }
  void push_input() {
    if (stream_ == 0 || body_.empty()) return;
    const auto rest = as_bytes(std::string_view(body_)).subspan(input_at_);
    input_at_ += state().loopback().send(stream_, session::Channel::in, rest, true);
  }
  void on_writable(session::Channel) override { push_input(); }
  void on_data(session::Channel channel, ByteView data, bool) override {
    state().loopback().consumed(stream_, channel, data.size());
    if (channel == session::Channel::out) return take(as_text(data), false);
    said_ += as_text(data.first(std::min<std::size_t>(data.size(), 1024 - std::min<std::size_t>(said_.size(), 1024))));
  }
  void on_lost(const Error& error) override {
    stream_ = 0;
    broken(error.message());
  }
  void on_end(const protocol::End& end) override {
    stream_ = 0;
    if (end.code != 0) return broken(end.sys_errno == ENOENT ? "https needs curl in the image" : end.message);
    auto outcome = protocol::decode<protocol::ExecOutcome>(as_bytes(end.result));
    if (!outcome) return broken(outcome.error().message());
    if (outcome->exit_code != 0 || outcome->signal != 0) {
      while (said_.ends_with('\n')) said_.pop_back();
      return broken(said_.empty() ? "curl failed" : said_);
    }
    take({}, true);
  }

  void respond() {
    const int status = reader_->status();
    const std::string_view location = reader_->header("Location");
    const bool redirect = status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
    if (redirect && !location.empty()) return follow(std::string(location));
    std::string headers;
    for (const auto& [name, value] : reader_->headers()) {
      headers += headers.empty() ? '{' : ',';
      json::append_string(headers, name);
      headers += ':';
      json::append_string(headers, value);
    }
    headers += headers.empty() ? "{}" : "}";
    const Connection* connection = state().connection_of(caller_);
    const std::size_t most = connection && connection->encrypted() ? kMaxFrame / 4 * 3 : kMaxFrame;
    const auto body = json::fitting(reader_->body(), most - std::min(most, headers.size() + 4096));
    state().answer(caller_, json::Object().number("status", status).raw("headers", headers).text("body", body).take());
    finish();
  }

  void follow(const std::string& location) {
    if (++redirects_ > Fetches::kMaxRedirects) return fail("too many redirects");
    auto next = follow_url(url_, location);
    if (!next) return fail(next.error().message());
    const int status = reader_->status();
    if (status <= 303 && method_ != "GET" && method_ != "HEAD") {
      method_ = "GET";
      body_.clear();
    }
    if (next->host != url_.host || next->port != url_.port || next->secure != url_.secure) {
      std::erase_if(headers_, [](const protocol::KeyValue& header) {
        const std::string name = canonical_header(header.key);
        return name == "Authorization" || name == "Cookie" || name == "Host";
      });
    }
    url_ = *std::move(next);
    hop();
  }

  Fetches& owner_;
  const Caller caller_;
  Url url_;
  std::string method_, body_;
  std::vector<protocol::KeyValue> headers_;
  std::optional<ResponseReader> reader_;
  int redirects_ = 0;
  Loop::TimerId timer_ = 0;
  pid_t pid_ = 0;
  core::UniqueFd pipe_;
  char word_ = 0;              ///< of the child
  std::string said_;           ///< what it added, or curl's complaints
  session::StreamId stream_ = 0;
  std::size_t input_at_ = 0;
};

Fetches::Fetches(State& state) : state_(state), retired_(state.loop()) {}
Fetches::~Fetches() = default;

void Fetches::fetch(const Request& request) {
  Params params(request.params);
  const auto text = params.text("url");
  auto method = params.text("method");
  auto headers = params.strings("headers");
  auto body = params.text("body");
  if (!params.error().empty()) return state_.refuse(request.caller, params.error());
  if (text.empty()) return state_.refuse(request.caller, "url is required");
  auto url = parse_url(text);
  if (!url) return state_.refuse(request.caller, url.error().message());
  if (running_.size() >= kMaxFetches) return state_.refuse(request.caller, "too many requests at once");
  auto fetch = std::make_unique<Fetch>(*this, request.caller);
  Fetch* started = fetch.get();
  running_.emplace(started, std::move(fetch));
  started->start(*std::move(url), method.empty() ? "GET" : std::move(method), std::move(headers), std::move(body));
}

void Fetches::ended(Fetch& fetch) {
  const auto found = running_.find(&fetch);
  if (found == running_.end()) return;
  // Not freed here: one of its members is on the stack.
  retired_.add(std::move(found->second));
  running_.erase(found);
}

}  // namespace sandbox::agent::v1
