#include "prove/rooms.hpp"

#include <sys/ipc.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <fstream>

namespace sandbox::prove {

namespace {

std::string replaced(std::string text, const std::map<std::string, std::string>& values) {
  for (const auto& [name, value] : values)
    for (std::size_t at; (at = text.find(name)) != text.npos;) text.replace(at, name.size(), value);
  return text;
}

/// The attempt's name in reports: limits and made-up names are left out, addresses stay.
std::string attempt_id(const std::string& word) {
  const auto equals = word.find('=');
  const std::string id = word.substr(0, equals);
  if ((id != "tcp" && id != "udp") || word.find('{') < word.find('/')) return id;
  return id + " " + word.substr(equals + 1, word.find('/') - equals - 1);
}

}  // namespace

Rooms::~Rooms() = default;

void Rooms::judge(const Check& check, CheckResult& result) {
  if (*check.limit != '\0') {
    if (const std::string why = stage_.unenforced(check.limit); !why.empty()) return skip(result, "this host does not enforce it: " + why);
  }
  const Asked& asked = ask(check.room);
  if (!asked.unavailable.empty()) return skip(result, asked.unavailable);
  if (!asked.broken.empty()) return fail(result, asked.broken);
  const bool reversed = std::string_view(check.id) == "net.public";  // the one that must work
  std::string open, blocked, skipped, mute;
  const auto add = [](std::string& to, const std::string& text) { to += (to.empty() ? "" : "; ") + text; };
  for (const std::string& word : check.words) {
    CheckAttempt attempt;
    attempt.id = attempt_id(word);
    const auto find = [&](const Answers& answers) {
      const auto found = answers.find(word);
      return found == answers.end() ? Answer{"", "the probe said nothing"} : found->second;
    };
    const Answer out = find(asked.outside);
    const Answer in = stage_.options().is_without_sandbox() ? out : find(asked.inside);
    attempt.verdict = in.verdict;
    attempt.detail = in.detail;
    attempt.control = out.verdict == "open" ? "bites" : out.verdict == "blocked" ? "host_forbids" : "not_run";
    attempt.control_detail = out.detail;
    add(in.verdict == "open" ? open : in.verdict == "blocked" ? blocked : in.verdict == "skipped" ? skipped : mute, in.detail);
    result.attempts.push_back(std::move(attempt));
  }
  if (reversed) return open.empty() ? fail(result, "not reached: " + blocked + skipped + mute) : pass(result, open);
  if (!open.empty()) return fail(result, open);
  if (!mute.empty()) return fail(result, "no clear answer: " + mute);
  if (blocked.empty()) return skip(result, skipped.empty() ? "nothing to try" : skipped);
  pass(result, blocked + (skipped.empty() ? "" : "; not tried: " + skipped));
}

const Rooms::Asked& Rooms::ask(Room room) {
  if (const auto found = asked_.find(room); found != asked_.end()) return found->second;
  Asked& asked = asked_[room];
  std::vector<std::string> words;
  for (const Check* check : checks_) {
    if (check->room != room) continue;
    // Where a limit does not hold, nobody sets off the bomb.
    if (*check->limit != '\0' && !stage_.unenforced(check->limit).empty()) continue;
    for (const std::string& word : check->words)
      if (std::find(words.begin(), words.end(), word) == words.end()) words.push_back(word);
  }
  switch (room) {
    case Room::plain: ask_sandbox(asked, stage_.spec(), words); break;
    case Room::small: ask_sandbox(asked, small_spec(stage_), words); break;
    case Room::slow: ask_sandbox(asked, slow_spec(stage_), words); break;
    case Room::lan: ask_lan(asked, words); break;
    case Room::none: ask_none(asked, words); break;
    case Room::ipc: ask_ipc(asked, words); break;
  }
  return asked;
}

void Rooms::ask_sandbox(Asked& asked, const SandboxSpec& spec, const std::vector<std::string>& words) {
  auto box = stage_.make(spec);
  if (!box) {
    asked.broken = "no sandbox to try it in: " + box.error().to_string();
    return;
  }
  asked.inside = stage_.ask(*box, words);
  asked.outside = stage_.ask_outside("control", words);
}

/// A datagram says nothing when it arrives: the other end is asked.
void Rooms::listen_to_udp(Answers& answers, const std::string& mark) {
  for (auto& [word, answer] : answers) {
    if (!word.starts_with("udp=") || answer.verdict == "skipped") continue;
    const std::string text = replaced(word.substr(word.find('/') + 1), {{"{mark}", mark}});
    const bool arrived = stage_.lab()->wait_for(text, std::chrono::milliseconds(answer.verdict == "open" ? 150 : 0));
    answer.detail += arrived ? ": it arrived" : ": it did not arrive";
    answer.verdict = arrived ? "open" : "blocked";
  }
}

/// A machine without rules at `netns`; for the host's loopback, the host itself.
Answers Rooms::ask_machine(const std::vector<std::string>& words, int netns) {
  std::vector<std::string> local, remote;
  for (const std::string& word : words) (word.starts_with("tcp=127.") ? local : remote).push_back(word);
  Answers answers = stage_.ask_outside("beside", remote, netns);
  if (!local.empty()) answers.merge(stage_.ask_outside("beside", local));
  return answers;
}

void Rooms::ask_lan(Asked& asked, const std::vector<std::string>& words) {
  if (stage_.lab() == nullptr) {
    asked.unavailable = "needs root: the laboratory network is made of namespaces, and packets must not leave the machine";
    return;
  }
  const SandboxSpec spec = stage_.spec().network(Network::bridge);
  auto box = stage_.make(spec), neighbour = stage_.make(spec);
  if (!box || !neighbour) {
    asked.broken = "no sandbox with a network: " + (box ? neighbour : box).error().to_string();
    return;
  }
  const std::string route = "own_address=198.51.100.10:9";
  const Answer address = stage_.ask(*neighbour, {route})[route];
  const std::string serve = "serve=0.0.0.0:8088";
  const Answer serving = stage_.ask(*neighbour, {serve})[serve];
  const std::string self = "tcp=" + address.detail + ":8088";
  if (stage_.ask(*neighbour, {self})[self].verdict != "open") {
    asked.broken = "the neighbour does not serve: " + address.detail + ", " + serving.detail;
    return;
  }
  // The control stands where a sandbox stands, with routes both ways and no rules in between; its neighbour is the host of
  // private addresses, which it reaches for the same reason.
  const core::UniqueFd control = stage_.lab()->make_control();
  const auto put = [&](bool outside, const std::string& mark) {
    const std::map<std::string, std::string> values = {{"{mark}", mark}, {"{neighbour}", outside ? "192.168.50.10" : address.detail}};
    std::vector<std::string> asked_words;
    for (const std::string& word : words) asked_words.push_back(replaced(word, values));
    Answers answers = outside ? ask_machine(asked_words, control.get()) : stage_.ask(*box, asked_words);
    Answers by_word;
    for (std::size_t i = 0; i < words.size(); ++i) by_word[words[i]] = answers[asked_words[i]];
    listen_to_udp(by_word, mark);
    return by_word;
  };
  asked.inside = put(false, "inside-lan");
  asked.outside = put(true, "outside-lan");
}

void Rooms::ask_none(Asked& asked, const std::vector<std::string>& words) {
  auto box = stage_.make(stage_.spec());
  if (!box) {
    asked.broken = "no sandbox to try it in: " + box.error().to_string();
    return;
  }
  std::vector<std::string> inside, outside;
  for (const std::string& word : words) {
    // Without the laboratory nothing is sent, wherever it would go.
    if (stage_.lab() == nullptr && word.find('=') != word.npos) {
      asked.inside[word] = asked.outside[word] = {"skipped", "packets are sent in the laboratory only, which needs root"};
      continue;
    }
    inside.push_back(replaced(word, {{"{mark}", "inside-none"}}));
    outside.push_back(replaced(word, {{"{mark}", "outside-none"}}));
  }
  Answers in = stage_.ask(*box, inside), out;
  if (stage_.lab() != nullptr) {
    const core::UniqueFd control = stage_.lab()->make_control();
    out = ask_machine(outside, control.get());
  } else {
    out = stage_.ask_outside("beside", outside);
  }
  std::size_t i = 0;
  for (const std::string& word : words) {
    if (asked.inside.contains(word)) continue;
    asked.inside[word] = in[inside[i]];
    asked.outside[word] = out[outside[i]];
    ++i;
  }
  if (stage_.lab() == nullptr) return;
  listen_to_udp(asked.inside, "inside-none");
  listen_to_udp(asked.outside, "outside-none");
}

void Rooms::ask_ipc(Asked& asked, const std::vector<std::string>& words) {
  auto box = stage_.make(stage_.spec());
  if (!box) {
    asked.broken = "no sandbox to try it in: " + box.error().to_string();
    return;
  }
  // Things of the host that anybody on it could reach.
  const std::string unique = stage_.directory().substr(stage_.directory().rfind('/') + 1);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path + 1, unique.data(), unique.size());
  const core::UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + unique.size());
  if (::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(listener.get(), 4) != 0) {
    asked.broken = "an abstract socket cannot be made here";
    return;
  }
  const int segment = ::shmget(IPC_PRIVATE, 4096, 0666);
  const std::map<std::string, std::string> values = {{"{abstract}", unique},
                                                     {"{segment}", std::to_string(segment)},
                                                     {"{shm}", "/dev/shm/" + unique},
                                                     {"{run}", "/run/" + unique},
                                                     {"{outside}", stage_.outside()}};
  std::map<std::string, bool> made;
  for (const char* place : {"{shm}", "{run}"}) {
    std::ofstream file(values.at(place));
    made[place] = static_cast<bool>(file << stage_.secret() << std::flush);
    ::chmod(values.at(place).c_str(), 0644);
  }
  std::vector<std::string> put;
  for (const std::string& word : words) put.push_back(replaced(word, values));
  Answers in = stage_.ask(*box, put), out = stage_.ask_outside("beside", put);
  for (std::size_t i = 0; i < words.size(); ++i) {
    asked.inside[words[i]] = in[put[i]];
    asked.outside[words[i]] = out[put[i]];
    for (const auto& [place, there] : made)
      if (!there && words[i].find(place) != words[i].npos)
        asked.inside[words[i]] = {"skipped", "no file can be made in " + values.at(place)};
  }
  if (segment >= 0) ::shmctl(segment, IPC_RMID, nullptr);
  for (const auto& [place, there] : made)
    if (there) ::unlink(values.at(place).c_str());
}

}  // namespace sandbox::prove
