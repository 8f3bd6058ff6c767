#include "agent/resumable.hpp"

#include <algorithm>
#include <utility>

#include "protocol/frame.hpp"

namespace sandbox::agent {

// ---- Greeter --------------------------------------------------------------------------------------------------------

Result<bool> Greeter::feed(ByteView wire) {
  if (!known_) {
    const std::size_t part = std::min(wire.size(), crypto::kDialectBytes - first_.size());
    first_ += as_text(wire.first(part));
    wire = wire.subspan(part);
    const auto dialect = crypto::dialect_of(as_bytes(std::string_view(first_)));
    if (dialect == crypto::Dialect::undecided) return false;
    known_ = true;
    if (dialect == crypto::Dialect::sealed) {
      SANDBOX_TRY(auto channel, agent_.sealed_channel());
      channel_.emplace(std::move(channel));
    }
    const std::string first = std::exchange(first_, {});
    SANDBOX_CHECK(feed(as_bytes(std::string_view(first))));
  }
  if (!channel_) {
    plain_ += as_text(wire);
    return parse();
  }
  SANDBOX_CHECK(channel_->receive(wire, [this](ByteView plain) -> Result<void> {
    plain_ += as_text(plain);
    return {};
  }));
  return parse();
}

Result<bool> Greeter::parse() {
  if (plain_.size() < protocol::kFrameHeader) return false;
  SANDBOX_TRY(const auto header, protocol::decode_header(said(), protocol::kMinMaxFrame));
  if (header.type != protocol::FrameType::hello) return Error(ErrorCode::protocol, "the first frame is not a hello");
  if (plain_.size() < protocol::kFrameHeader + header.length) return false;
  SANDBOX_TRY(hello_, protocol::decode<protocol::Hello>(said().subspan(protocol::kFrameHeader, header.length)));
  return true;
}

// ---- ResumableSessions ------------------------------------------------------------------------------------------------

ResumableSessions::~ResumableSessions() {
  for (auto& [id, entry] : entries_)
    if (entry->timer) agent_.loop().cancel_timer(entry->timer);
  // Operations of these servers may carry sessions of this table themselves: detach() must find it empty.
  carried_.clear();
  waiting_.clear();
  const auto entries = std::exchange(entries_, {});
}

Result<Server*> ResumableSessions::attach(Greeter& greeter, Carrier& carrier, core::Duration keep, int depth) {
  const protocol::Hello& hello = greeter.hello();
  Entry* entry = nullptr;
  if (const auto found = entries_.find(hello.session_id); hello.resumable && found != entries_.end()) {
    // Not a word of which of these was wrong: to this client the session does not exist.
    if (found->second->sealed == greeter.sealed() && found->second->depth == depth) entry = found->second.get();
  }
  if (entry) {
    if (Carrier* earlier = std::exchange(entry->carrier, nullptr)) {
      // The client noticed the loss before we did.
      carried_.erase(earlier);
      entry->server->disconnected();
      earlier->replaced();
    } else {
      leave_waiting(*entry);
    }
  } else {
    session::Options options = session_options();
    options.resumable = hello.resumable;
    options.max_unacknowledged = kMaxUnacknowledged;
    auto made = std::make_unique<Entry>();
    made->id = options.hello.session_id;
    if (made->id.empty() || entries_.contains(made->id)) return Error(ErrorCode::internal, "no random session id");
    made->sealed = greeter.sealed();
    made->depth = depth;
    made->server = std::make_unique<Server>(agent_, std::move(options), Server::Write(), depth);
    entry = made.get();
    entries_.emplace(made->id, std::move(made));
  }
  entry->keep = keep;
  entry->carrier = &carrier;
  carried_.insert_or_assign(&carrier, entry);
  Server& server = *entry->server;
  auto connected = server.connected([&carrier](ByteView bytes) { return carrier.write(bytes); }, greeter.take_channel(), greeter.said());
  if (!connected) {
    // A client that resumes a session nobody knows has sent its RESUME already: our hello, with another id, tells it why.
    server.flush();
    carried_.erase(&carrier);
    entry->carrier = nullptr;
    end(*entry);
    return std::move(connected).error();
  }
  return &server;
}

void ResumableSessions::detach(Carrier& carrier) {
  const auto found = carried_.find(&carrier);
  if (found == carried_.end()) return;
  Entry& entry = *found->second;
  carried_.erase(found);
  entry.carrier = nullptr;
  if (entry.server->closed_by_client() || !entry.server->session().ready() || !entry.server->session().peer().resumable ||
      entry.keep <= core::Duration::zero())
    return end(entry);
  entry.server->disconnected();
  entry.place = waiting_.insert(waiting_.end(), &entry);
  entry.timer = agent_.loop().at(core::SteadyClock::now() + entry.keep, [this, &entry] {
    entry.timer = 0;
    leave_waiting(entry);
    end(entry);
  });
  if (waiting_.size() <= kMaxWaiting) return;
  Entry& oldest = *waiting_.front();
  leave_waiting(oldest);
  end(oldest);
}

void ResumableSessions::leave_waiting(Entry& entry) {
  waiting_.erase(entry.place);
  if (entry.timer) agent_.loop().cancel_timer(std::exchange(entry.timer, 0));
}

void ResumableSessions::end(Entry& entry) {
  entry.server->close(Error(ErrorCode::unavailable, "the session is over"));
  // Its last words are for nobody: the carrier that would take them may be gone before the server is.
  entry.server->disconnected();
  const auto found = entries_.find(entry.id);
  // Not freed here: the server may be on the stack.
  retired_.add(std::move(found->second));
  entries_.erase(found);
}

}  // namespace sandbox::agent
