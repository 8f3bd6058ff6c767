#include <algorithm>

#include "simulation/client_end.hpp"

namespace sandbox::simulation {

using session::Channel;

void Call::check(bool holds, std::string_view what) { client_.ledger().check(holds, what, attempt_); }
void Call::alive(std::string_view what) { check(!attempt_.over && !attempt_.detached, what); }

bool Call::work(Random& random, bool all) {
  if (attempt_.over) return false;
  const Job& job = *attempt_.job;
  session::Session& session = client_.session();
  bool done = false;
  for (const unsigned i : {0u, 1u}) {
    if (owed_[i] == 0 || (!all && random.chance(500))) continue;
    const std::uint64_t back = all ? owed_[i] : random.size(owed_[i]);
    owed_[i] -= back;
    session.consumed(stream_, i == 0 ? Channel::out : Channel::err, back);
    done = true;
  }
  if (attempt_.detached) return done;
  if (attempt_.up_sent < job.up && (all || random.chance(300))) {
    if (session.can_message(stream_)) {
      session.send_message(stream_, message_text(job.number, attempt_.up_sent++)).value();
      done = true;
    } else {
      full_ = true;
    }
  }
  if (attempt_.in_fin_sent) return done;
  const std::uint64_t left = job.in - attempt_.in_sent;
  // A little more than it takes, so that it often has to refuse some.
  const std::uint64_t room = session.writable(stream_, Channel::in) + 20;
  const std::size_t size = all ? std::min(left, room) : random.size(std::min(left, room));
  const bool fin = size == left && attempt_.up_sent == job.up;
  if (size == 0 && !fin) return done;
  if (!fin && !all && random.chance(300)) {
    // The way without a copy.
    const auto place = session.reserve(stream_, Channel::in, size);
    if (place.empty()) {
      refused_ = true;
      return done;
    }
    const std::string text = make_content(job.number, 0, attempt_.in_sent, place.size());
    std::copy(text.begin(), text.end(), reinterpret_cast<char*>(place.data()));
    session.commit(stream_, Channel::in, place.size());
    attempt_.in_sent += place.size();
    return true;
  }
  const std::string text = make_content(job.number, 0, attempt_.in_sent, size);
  const std::size_t taken = session.send(stream_, Channel::in, as_bytes(std::string_view(text)), fin);
  check(taken <= size, "send() took more than it was given");
  attempt_.in_sent += taken;
  if (taken < size)
    refused_ = true;
  else if (fin)
    attempt_.in_fin_sent = true;
  return done || taken > 0 || attempt_.in_fin_sent;
}

void Call::cancel() {
  if (attempt_.over || attempt_.cancelled) return;
  attempt_.cancelled = true;
  ++client_.ledger().counters.cancels;
  client_.session().cancel(stream_);
}

void Call::detach() {
  if (attempt_.over || attempt_.detached) return;
  attempt_.detached = attempt_.over = true;
  owed_[0] = owed_[1] = 0;
  ++client_.ledger().counters.detaches;
  client_.session().detach(stream_);
}

void Call::on_message(ByteView message) {
  alive("a message after the end");
  check(as_text(message) == message_text(attempt_.job->number, attempt_.down_got),
        "a message to the client was lost, doubled or changed");
  ++attempt_.down_got;
  check(attempt_.down_got <= attempt_.down_sent, "the client has a message that nobody sent");
  ++client_.ledger().counters.messages;
}

void Call::on_data(Channel channel, ByteView data, bool fin) {
  alive("content after the end");
  check(channel != Channel::in, "content of a channel that we send");
  const unsigned i = channel == Channel::err ? 1 : 0;
  check(!attempt_.fin_got[i], "content after its end");
  check(is_content(data, attempt_.job->number, i + 1, attempt_.out_got[i]),
        "content to the client was lost, doubled or changed");
  attempt_.out_got[i] += data.size();
  check(attempt_.out_got[i] <= attempt_.out_sent[i], "the client has content that nobody sent");
  if (fin) attempt_.fin_got[i] = true;
  if (fin)
    check(attempt_.fin_sent[i] && attempt_.out_got[i] == attempt_.out_sent[i], "an end of content that nobody sent");
  owed_[i] += data.size();
  client_.ledger().counters.bytes += data.size();
}

void Call::on_writable(Channel channel) {
  alive("room after the end");
  check(channel == Channel::in && std::exchange(refused_, false), "on_writable() that was not asked for");
}

void Call::on_drained() {
  alive("on_drained() after the end");
  check(std::exchange(full_, false), "on_drained() that was not asked for");
}

void Call::on_end(const protocol::End& end) {
  alive("a second end");
  attempt_.over = attempt_.ended = true;
  ++client_.ledger().counters.ends;
  if (!attempt_.said) return check(false, "the client has a result that no operation made");
  const protocol::End& said = *attempt_.said;
  check(end.code == said.code && end.result == said.result && end.message == said.message,
        "the client has another result than the agent's");
  for (const unsigned i : {0u, 1u}) {
    check(attempt_.out_got[i] == attempt_.out_sent[i], "the end came before the last content");
    check(attempt_.fin_got[i] == attempt_.fin_sent[i], "the end came before the end of the content");
  }
  check(attempt_.down_got == attempt_.down_sent, "the end came before the last message");
}

void Call::on_lost(const Error& error) {
  error.ignore("what it says is the ends' business");
  alive("lost after the end");
  attempt_.over = true;
  ++client_.ledger().counters.losses;
}

}  // namespace sandbox::simulation
