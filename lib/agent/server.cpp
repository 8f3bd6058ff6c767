#include "agent/server.hpp"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include <charconv>
#include <string_view>
#include <utility>

#include "agent/children.hpp"
#include "agent/exec_table.hpp"
#include "protocol/build_id.hpp"
#include "agent/sessions.hpp"
#include "core/eagerness.hpp"

namespace sandbox::agent {

Agent::Agent(Loop& loop, Settings settings)
    : loop_(loop),
      settings_(std::move(settings)),
      children_(std::make_unique<Children>(loop, std::move(settings_.oom_score))),
      execs_(std::make_unique<ExecTable>(loop)) {}

Agent::~Agent() = default;

Sessions& Agent::sessions() {
  if (!sessions_) sessions_ = std::make_unique<Sessions>(*this);
  return *sessions_;
}

std::uint32_t Agent::oom_kills() const noexcept {
  if (!settings_.oom_counter) return 0;
  char buffer[512];
  const ssize_t count = ::pread(settings_.oom_counter.get(), buffer, sizeof buffer, 0);
  std::string_view text(buffer, count > 0 ? static_cast<std::size_t>(count) : 0);
  // v1 memory.oom_control: "oom_kill_disable 0\nunder_oom 0\noom_kill N\n"; v2 memory.events has "oom_kill N" as well.
  constexpr std::string_view kName = "oom_kill ";
  while (!text.empty()) {
    if (text.starts_with(kName)) {
      std::uint32_t kills = 0;
      std::from_chars(text.data() + kName.size(), text.data() + text.size(), kills);
      return kills;
    }
    const auto end = text.find('\n');
    text.remove_prefix(end == text.npos ? text.size() : end + 1);
  }
  return 0;
}

int Agent::null_device() noexcept {
  if (!null_) {
    null_.reset(::open("/dev/null", O_RDWR | O_CLOEXEC));
    if (null_ && null_.get() < 3) null_.reset(::fcntl(null_.get(), F_DUPFD_CLOEXEC, 3));
  }
  return null_.get();
}

Result<crypto::SecureChannel> Agent::sealed_channel() {
  if (!identity_) {
    SANDBOX_TRY(Identity made, Identity::generate());
    identity_.emplace(std::move(made));
  }
  return crypto::SecureChannel::agent({*identity_, std::nullopt, {}});
}

void Agent::conversed() noexcept {
  if (settings_.looks && operations_ == 0) loop_.expect_soon();
}

void Agent::operation_ended(const Operation& operation) noexcept {
  if (!operation.works() || --operations_ > 0) return;
  scratch_.trim();
  received_.trim();
}

session::Options session_options() {
  session::Options options;
  options.software = "sandbox-agent/";
  options.software += protocol::build_id();
  options.hello.session_id.resize(16);
  if (::getrandom(options.hello.session_id.data(), options.hello.session_id.size(), GRND_NONBLOCK) != 16)
    options.hello.session_id.clear();
  return options;
}

Server::Server(Agent& agent, session::Options options, Write write, int depth)
    : agent_(agent),
      write_(std::move(write)),
      depth_(depth),
      session_(session::Role::agent, std::move(options), *this) {
  run_first();
}

/// Before the hooks of all servers that exist now: one of them may carry this one's bytes.
void Server::run_first() {
  if (hook_) agent_.loop().remove_hook(hook_);
  hook_ = agent_.loop().before_sleep([this] {
    const std::size_t moved = flush() + std::exchange(heard_, 0);
    free_operations();
    schedule_tick();
    if (moved > 0 && moved <= core::Eagerness::kSmall) agent_.conversed();
  });
}

Result<void> Server::connected(Write write, std::optional<crypto::SecureChannel> channel, ByteView said) {
  write_ = std::move(write);
  if (channel) endpoint_.emplace(session_, *std::move(channel));
  else endpoint_.emplace(session_);
  run_first();
  Result<void> result;
  if (session_.ready()) result = session_.resume();
  if (result) result = session_.receive(said);
  if (!result) close(result.error());
  return result;
}

void Server::disconnected() {
  endpoint_.reset();
  blocked_ = false;
  write_ = nullptr;
  session_.disconnected();
}

bool Server::closed_by_client() const noexcept {
  return session_.failed() || (endpoint_ && endpoint_->channel() && endpoint_->channel()->peer_closed());
}

Server::~Server() {
  agent_.loop().remove_hook(hook_);
  if (tick_timer_) agent_.loop().cancel_timer(tick_timer_);
  close(Error(ErrorCode::unavailable, "the agent's session was closed"));
  free_operations();   // while the session they refer to still exists
}

Result<void> Server::receive(ByteView bytes) {
  auto result = feed(bytes);
  if (!result) close(result.error());
  return result;
}

Result<void> Server::feed(ByteView bytes) {
  heard_ += bytes.size();
  while (!endpoint_) {
    const auto dialect = crypto::dialect_of({first_, first_size_});
    if (dialect == crypto::Dialect::undecided) {
      if (bytes.empty()) return {};
      first_[first_size_++] = bytes.front();
      bytes = bytes.subspan(1);
      continue;
    }
    if (dialect == crypto::Dialect::sealed) {
      SANDBOX_TRY(auto channel, agent_.sealed_channel());
      endpoint_.emplace(session_, std::move(channel));
    } else {
      endpoint_.emplace(session_);
    }
    SANDBOX_CHECK(endpoint_->receive({first_, first_size_}));
  }
  return endpoint_->receive(bytes);
}

std::size_t Server::flush() {
  std::size_t said = 0;
  if (!endpoint_) return said;
  for (;;) {
    const ByteView bytes = endpoint_->output();
    blocked_ = !bytes.empty();
    if (!blocked_) return said;
    const std::size_t taken = write_(bytes);
    if (taken == 0) return said;
    endpoint_->sent(taken);
    said += taken;
  }
}

void Server::close(const Error& error) {
  if (!session_.failed()) session_.fail(error);
  error.ignore("every operation was told");
  for (auto& [stream, operation] : operations_) closed_.push_back(std::move(operation));
  operations_.clear();
  // Not freed here: one of them may be on the stack.
}

void Server::free_operations() {
  // The destructor of an operation may close a nested server, which frees its own; it never adds to this list.
  const auto closed = std::exchange(closed_, {});
  for (const auto& operation : closed) agent_.operation_ended(*operation);
}

void Server::schedule_tick() {
  const auto next = session_.next_tick();
  if (next == tick_at_) return;
  if (tick_timer_) agent_.loop().cancel_timer(tick_timer_);
  tick_timer_ = 0;
  tick_at_ = next;
  if (next == core::TimePoint::max()) return;
  tick_timer_ = agent_.loop().at(next, [this] {
    tick_timer_ = 0;
    tick_at_ = core::TimePoint::max();
    session_.tick(agent_.loop().now());
  });
}

session::StreamHandler* Server::on_open(session::StreamId stream, protocol::Method method, ByteView params,
                                        std::string_view idempotency_key) {
  OperationFactory make = process_operation(method);
  if (!make) make = file_operation(method);
  if (!make) {
    session_.end(stream, session::end_of(Error(ErrorCode::unsupported, "this agent does not know the method")));
    return nullptr;
  }
  auto operation = make(Context{agent_.loop(), session_, stream, *this}, params, idempotency_key);
  if (!operation) {
    session_.end(stream, session::end_of(operation.error()));
    return nullptr;
  }
  agent_.operation_started(**operation);
  session::StreamHandler* handler = operation->get();
  operations_.insert_or_assign(stream, *std::move(operation));
  return handler;
}

void Server::on_stream_closed(session::StreamId stream) {
  const auto found = operations_.find(stream);
  if (found == operations_.end()) return;
  closed_.push_back(std::move(found->second));
  operations_.erase(found);
}

SocketServer::SocketServer(Agent& agent, core::UniqueFd socket, session::Options options,
                           std::function<void(const Error&)> lost)
    : agent_(agent), socket_(std::move(socket)), lost_(std::move(lost)) {
  server_ = std::make_unique<Server>(agent, std::move(options), [this](ByteView bytes) { return write(bytes); });
}

SocketServer::~SocketServer() {
  server_.reset();
  agent_.loop().unwatch(socket_.get());
}

Result<void> SocketServer::start() {
  return agent_.loop().watch(socket_.get(), EPOLLIN, [this](std::uint32_t events) { ready(events); });
}

std::size_t SocketServer::write(ByteView bytes) {
  ssize_t count;
  do count = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  while (count < 0 && errno == EINTR);
  const bool full = count < 0 || static_cast<std::size_t>(count) < bytes.size();
  // EPIPE and the like show as EPOLLHUP or as the end of the stream when reading, which is where they are handled.
  if (full != wants_room_) {
    wants_room_ = full;
    agent_.loop().rewatch(socket_.get(), full ? EPOLLIN | EPOLLOUT : EPOLLIN);
  }
  return count > 0 ? static_cast<std::size_t>(count) : 0;
}

void SocketServer::ready(std::uint32_t events) {
  if (events & EPOLLOUT) server_->flush();
  if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR))) return;
  const auto buffer = agent_.received_.span();
  if (buffer.empty()) return lose(Error(ErrorCode::resource_exhausted, "no memory for a receive buffer"));
  const ssize_t count = ::recv(socket_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (count > 0) {
    agent_.received_.touched(static_cast<std::size_t>(count));
    if (auto result = server_->receive(buffer.first(static_cast<std::size_t>(count))); !result) lose(result.error());
  } else if (count == 0) {
    lose(Error(ErrorCode::unavailable, "the client closed the stream"));
  } else if (errno != EAGAIN && errno != EINTR) {
    lose(Error::from_errno(errno, "agent.receive"));
  }
}

void SocketServer::lose(const Error& error) {
  agent_.loop().unwatch(socket_.get());
  server_->close(error);
  if (auto lost = std::exchange(lost_, nullptr)) lost(error);
}

}  // namespace sandbox::agent
