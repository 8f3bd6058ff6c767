// What a user of sandboxes does, told line by line, for tests that kill something meanwhile (kill_test.cpp).
//
//   kill-story embedded STATE            a runtime of its own
//   kill-story persistent STATE          a persistent one; leaves its first sandbox behind and waits for its end
//   kill-story adopt STATE EARLIER...    takes over what the processes that wrote the files EARLIER had said they made
//   kill-story daemon URL                a client of a daemon
//   kill-story template STATE ID         a persistent runtime with one sandbox of a template; waits for its end
//
// Lines: "created ID", "closing ID", "closed ID", "error STEP CODE TEXT", "LIE TEXT", "done". An error is an honest answer:
// the story then starts over with new sandboxes. A LIE is a result that cannot be.
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <sandbox/client.hpp>
#include <sandbox/sandbox.hpp>

namespace {

using namespace std::chrono_literals;
using sandbox::Command;
using sandbox::CreateOptions;
using sandbox::Result;
using sandbox::Sandbox;
using sandbox::SandboxSpec;

constexpr auto kPatience = 15s;
constexpr int kRounds = 8;

/// In one write: whoever kills us finds whole lines.
void say(const std::string& line) {
  const std::string whole = line + "\n";
  if (::write(1, whole.data(), whole.size()) != static_cast<ssize_t>(whole.size())) ::_exit(74);
}

bool failed(const char* step, const sandbox::Error& error) {
  say(std::string("error ") + step + " " + std::string(name(error.code())) + " " + error.to_string());
  return true;
}

void lie(const std::string& text) { say("LIE " + text); }

Result<void> close(Sandbox& box) {
  say("closing " + box.id());
  SANDBOX_CHECK(box.close());
  say("closed " + box.id());
  return {};
}

/// A command with a result that cannot be guessed, and which must run once.
Result<void> run(Sandbox& box, const std::string& token) {
  SANDBOX_TRY(const auto result, box.process().exec(Command("echo x >> /root/count; cat /root/token; exit 7").timeout(kPatience)));
  if (result.cause != sandbox::ExitCause::exited || result.exit_code != 7 || result.stdout_text() != token)
    lie(box.id() + ": exec said " + std::string(name(result.cause)) + " " + std::to_string(result.shell_code()) + " \"" + std::string(result.stdout_text()) + "\"");
  SANDBOX_TRY(const auto count, box.fs().read_text("/root/count"));
  if (count != "x\n") lie(box.id() + ": a command that ran once wrote \"" + count + "\"");
  return {};
}

/// Whether `box` is what was made by a first() that got as far as saying so.
Result<void> look(Sandbox& box) {
  SANDBOX_TRY(const auto result, box.process().exec(Command("exit 9").timeout(kPatience)));
  if (result.cause != sandbox::ExitCause::exited || result.exit_code != 9) lie(box.id() + ": exit 9 came back as " + std::to_string(result.shell_code()));
  return {};
}

template <class Place>
Result<Sandbox> make(Place& place, const SandboxSpec& spec, bool cold) {
  CreateOptions options;
  options.deadline(kPatience);
  if (cold) options.cold();
  SANDBOX_TRY(Sandbox box, place.create(spec, options));
  say("created " + box.id());
  return box;
}

/// One round. `kept` receives the first sandbox, to be closed or left by the caller.
template <class Place>
Result<void> tell(Place& place, const std::string& token, std::optional<Sandbox>& kept, const char*& step) {
  step = "create";
  SANDBOX_TRY(Sandbox made, make(place, SandboxSpec(), false));
  Sandbox& first = kept.emplace(std::move(made));
  step = "write";
  SANDBOX_CHECK(first.fs().write("/root/token", token));
  step = "exec";
  SANDBOX_CHECK(run(first, token));
  step = "save";
  SANDBOX_TRY(const auto saved, first.save_template("story"));
  step = "create";
  SANDBOX_TRY(Sandbox second, make(place, SandboxSpec().image(sandbox::Image::from_template(saved.id)), true));
  const auto use = [&]() -> Result<void> {
    step = "read";
    SANDBOX_TRY(const auto text, second.fs().read_text("/root/token"));
    if (text != token) lie(second.id() + ": the template has \"" + text + "\"");
    step = "close";
    return close(second);
  };
  if (auto used = use(); !used) {
    say("closing " + second.id());  // it goes away with its handle
    return used;
  }
  step = "remove";
  SANDBOX_CHECK(place.remove_template(saved.id));
  if constexpr (requires { place.prune(sandbox::PruneOptions()); }) {
    step = "prune";
    sandbox::PruneOptions everything;
    everything.unused_for = 0s;
    SANDBOX_CHECK(place.prune(everything));
  }
  return {};
}

/// Rounds until one goes through. After one that does not, `await` is called, which returns once there is hope again.
template <class Place>
bool rounds(Place& place, std::optional<Sandbox>& kept, const std::function<void()>& await = [] {}) {
  for (int round = 0; round < kRounds; ++round) {
    const char* step = "";
    const auto told = tell(place, "token " + std::to_string(round), kept, step);
    if (told) return true;
    failed(step, told.error());
    if (kept)
      if (const auto closed = close(*kept); !closed) failed("close", closed.error());
    kept.reset();
    await();
    std::this_thread::sleep_for(std::chrono::milliseconds(round * 20));  // whatever was killed is being replaced
  }
  return false;
}

/// What the writers of those files had been told to exist: created, not on its way out and not told to be lost.
std::set<std::string> promised(const std::vector<std::string>& files) {
  std::set<std::string> ids;
  for (const auto& file : files) {
    std::ifstream in(file);
    for (std::string word, id; in >> word;) {
      if (word == "created" && in >> id) ids.insert(id);
      if ((word == "closing" || word == "lost") && in >> id) ids.erase(id);
      std::getline(in, word);
    }
  }
  return ids;
}

sandbox::RuntimeOptions options(const std::string& state) { return sandbox::RuntimeOptions().state_directory(state).launchers(1).warm(1); }

Result<sandbox::Runtime> open(const sandbox::RuntimeOptions& wanted) {
  for (int attempt = 0;; ++attempt) {
    auto runtime = sandbox::Runtime::open(wanted);
    if (runtime || attempt == 3) return runtime;
    failed("open", runtime.error());
  }
}

int embedded(const std::string& state, bool persistent) {
  auto runtime = open(options(state).persistent(persistent));
  if (!runtime) return failed("open", runtime.error()), 3;
  if (const auto warm = runtime->wait_warm(kPatience); !warm) failed("warm", warm.error());
  std::optional<Sandbox> kept;
  if (!rounds(*runtime, kept)) return 4;
  if (persistent) {
    say("done");
    ::pause();
  }
  if (const auto closed = close(*kept); !closed) failed("close", closed.error());
  kept.reset();
  if (const auto closed = runtime->close(); !closed) failed("close", closed.error());
  say("done");
  return 0;
}

int adopt(const std::string& state, const std::vector<std::string>& earlier) {
  const auto expected = promised(earlier);
  auto runtime = open(options(state).persistent());
  if (!runtime) return failed("open", runtime.error()), 3;
  auto found = runtime->adopted();
  std::map<std::string, std::string> lost;
  for (const auto& one : found.lost) lost.emplace(one.id, one.reason);
  for (const auto& id : expected) {
    const auto same = [&](const Sandbox& box) { return box.id() == id; };
    if (std::any_of(found.sandboxes.begin(), found.sandboxes.end(), same)) say("adopted " + id);
    else if (lost.contains(id)) say("lost " + id + " " + lost[id]);
    else say("missing " + id);
  }
  for (Sandbox& box : found.sandboxes) {
    if (!expected.contains(box.id())) say("unannounced " + box.id());
    if (const auto looked = look(box); !looked) failed("look", looked.error());
    if (const auto closed = close(box); !closed) failed("close", closed.error());
  }
  found = {};
  std::optional<Sandbox> kept;
  if (!rounds(*runtime, kept)) return 4;
  if (const auto closed = close(*kept); !closed) failed("close", closed.error());
  kept.reset();
  if (const auto closed = runtime->close(); !closed) failed("close", closed.error());
  say("done");
  return 0;
}

int from_template(const std::string& state, const std::string& id) {
  auto runtime = sandbox::Runtime::open(sandbox::RuntimeOptions().state_directory(state).launchers(1).persistent());
  if (!runtime) return failed("open", runtime.error()), 3;
  auto box = make(*runtime, SandboxSpec().image(sandbox::Image::from_template(id)), true);
  if (!box) return failed("create", box.error()), 3;
  say("done");
  ::pause();
  return 0;
}

/// A client of the daemon there, as soon as there is one: how long a start takes is the machine's to say.
Result<sandbox::Client> reach(const std::string& url) {
  const auto give_up = std::chrono::steady_clock::now() + kPatience;
  auto client = sandbox::Client::connect(url, sandbox::ClientOptions().reconnect(10s).timeout(kPatience));
  while (!client && std::chrono::steady_clock::now() < give_up) {
    client.error().ignore("not up yet");
    std::this_thread::sleep_for(5ms);
    client = sandbox::Client::connect(url, sandbox::ClientOptions().reconnect(10s).timeout(kPatience));
  }
  return client;
}

int daemon(const std::string& url) {
  auto client = reach(url);
  if (!client) return failed("connect", client.error()), 3;
  std::optional<Sandbox> kept;
  // Another one may be starting. The client we have finds it by itself.
  const auto await = [&] {
    if (const auto there = reach(url); !there) failed("connect", there.error());
  };
  if (!rounds(*client, kept, await)) return 4;
  // Still there, and ours: the daemon may be another one by now.
  if (const auto looked = look(*kept); !looked) failed("look", looked.error());
  if (const auto closed = close(*kept); !closed) failed("close", closed.error());
  kept.reset();
  if (const auto closed = client->close(); !closed) failed("close", closed.error());
  say("done");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);  // a test that is killed leaves none of us
  ::alarm(60);
  const std::vector<std::string> arguments(argv + std::min(argc, 1), argv + argc);
  if (arguments.size() >= 2) {
    if (arguments[0] == "embedded") return embedded(arguments[1], false);
    if (arguments[0] == "persistent") return embedded(arguments[1], true);
    if (arguments[0] == "adopt") return adopt(arguments[1], {arguments.begin() + 2, arguments.end()});
    if (arguments[0] == "daemon") return daemon(arguments[1]);
    if (arguments[0] == "template" && arguments.size() == 3) return from_template(arguments[1], arguments[2]);
  }
  return 64;
}
