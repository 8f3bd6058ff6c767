#include "kill_case.hpp"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <sstream>
#include <thread>

#include <sandbox/client.hpp>

#include "support/eventually.hpp"
#include "support/ledger.hpp"
#include "support/live_runtime.hpp"
#include "support/tracer.hpp"

extern char** environ;

namespace sandbox::testing {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

/// For a story to end, whatever was killed in it. Its own patience is less.
constexpr auto kStory = 40s;
/// For the host to be clean after the last process of ours.
constexpr auto kClean = 15s;

/// For a daemon to serve or to give up.
constexpr auto kStarting = 10s;
/// How often a traced story that says nothing is looked at.
constexpr auto kLook = 50ms;

std::string base_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

std::string contents(const std::string& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// What may be told to somebody whose sandbox, launcher or daemon was killed.
bool is_honest(const std::string& code) { return code == "unavailable"; }

bool only_cgroups(const std::string& difference) {
  std::istringstream lines(difference);
  for (std::string line; std::getline(lines, line);)
    if (!line.starts_with("+ cgroup ")) return false;
  return true;
}

/// Where every thread of a process and its children is, for whoever has to find out why it hangs.
std::string whereabouts(pid_t process) {
  std::string text;
  const auto tell = [&](const fs::path& task) {
    text += "\n    " + task.string();
    for (const char* file : {"comm", "wchan", "syscall"}) {
      const std::string words = contents(task / file);
      text += " " + words.substr(0, words.find('\n'));
    }
    std::ifstream status(task / "status");
    for (std::string line; std::getline(status, line);)
      if (line.starts_with("State:") || line.starts_with("TracerPid:")) text += " " + line;
  };
  std::error_code error;
  auto family = descendants(process);
  family.emplace(process, "");
  for (const auto& [pid, comm] : family)
    for (const auto& task : fs::directory_iterator("/proc/" + std::to_string(pid) + "/task", error)) tell(task.path());
  return text;
}

class Run {
 public:
  explicit Run(const KillCase& what) : what_(what), before_(Ledger::take()) {}

  KillOutcome go() {
    if (serves()) {
      kill_in_daemon();
    } else {
      kill_at_point();
      if (killed_) aftermath();
    }
    settle("afterwards");
    files();
    return {killed_ ? "killed" : reached_ ? "nobody there" : "not reached", problems_};
  }

 private:
  void problem(const std::string& text) { problems_ += "  " + text + "\n"; }

  /// Starts a story that nobody disturbs.
  pid_t start(const std::vector<std::string>& words, const std::string& output) {
    std::vector<char*> raw;
    for (const auto& word : words) raw.push_back(const_cast<char*>(word.c_str()));
    raw.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawnattr_init(&attributes);
    sigset_t none;
    ::sigemptyset(&none);
    ::posix_spawnattr_setsigmask(&attributes, &none);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    ::posix_spawn_file_actions_addopen(&actions, 1, output.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    ::posix_spawn_file_actions_adddup2(&actions, 1, 2);
    pid_t pid = -1;
    if (::posix_spawn(&pid, raw[0], &actions, &attributes, raw.data(), environ) != 0) problem("cannot start " + words.front());
    ::posix_spawn_file_actions_destroy(&actions);
    ::posix_spawnattr_destroy(&attributes);
    return pid;
  }

  /// Reaps whatever ends until `pid` has; its status, nothing after kStory.
  std::optional<int> wait_for(pid_t pid) {
    if (const auto seen = ends_.find(pid); seen != ends_.end()) return seen->second;
    for (const auto end = std::chrono::steady_clock::now() + kStory; std::chrono::steady_clock::now() < end;) {
      int status = 0;
      const pid_t ended = ::waitpid(-1, &status, WNOHANG);
      if (ended == pid) return status;
      if (ended <= 0) std::this_thread::sleep_for(1ms);  // polling interval
    }
    problem("hangs:" + whereabouts(pid));
    ::kill(pid, SIGKILL);
    return std::nullopt;
  }

  /// Until `output` ends with "done".
  bool wait_done(pid_t pid, const std::string& output) {
    for (const auto end = std::chrono::steady_clock::now() + kStory; std::chrono::steady_clock::now() < end;) {
      if (contents(output).ends_with("done\n")) return true;
      if (::waitpid(pid, nullptr, WNOHANG) == pid) return false;
      std::this_thread::sleep_for(1ms);  // polling interval
    }
    return false;
  }

  /// A persistent embedder that dies with a sandbox to be taken over. Its launcher and agents are traced from then on.
  void prelude(Tracer& tracer) {
    const pid_t earlier = tracer.start({story_program(), "persistent", state_.path() + "/s"}, output("earlier"));
    bool told = false, ended = false;
    for (const auto end = Tracer::Clock::now() + kStory; !ended && Tracer::Clock::now() < end;) {
      const auto stop = tracer.next(std::min(end, Tracer::Clock::now() + kLook));
      if (stop) {
        ended = stop->why == Tracer::Why::ended && stop->process == earlier;
        tracer.resume(*stop);
      } else if (!told && contents(output("earlier")).ends_with("done\n")) {
        told = true;
        ::kill(earlier, SIGKILL);
      }
    }
    if (!told) problem("no sandbox to take over: " + contents(output("earlier")));
    else if (!ended) problem("who is to be followed does not end");
  }

  std::string output(const std::string& name) const { return state_.path() + "/" + name + ".out"; }

  std::vector<std::string> story() const {
    std::vector<std::string> words{story_program(), what_.mode, state_.path() + "/s"};
    if (what_.mode == "adopt") words.push_back(output("earlier"));
    return words;
  }

  bool serves() const { return what_.mode == "daemon"; }

  /// Settings of a daemon with one sandbox kept ready; what to start it with.
  std::vector<std::string> daemon() const {
    const std::string directory = state_.path();
    std::ofstream config(directory + "/config.toml");
    config << "[server]\nsocket = \"" << directory << "/d.sock\"\ndata_dir = \"" << directory << "/s\"\n"
           << "[limits]\nmax_sandboxes = 20\ncreate_rate_limit = 0\n";
    return {helper("sandboxd"), "--config", directory + "/config.toml"};
  }

  /// A daemon that is asked to end its sandboxes and itself.
  void stop(pid_t daemon) {
    ::kill(daemon, SIGINT);
    const auto status = wait_for(daemon);
    if (status && *status != 0) problem("the daemon stops with status " + std::to_string(*status) + ": " + contents(output("daemon")));
  }

  void kill_in_daemon() {
    Tracer tracer({"sandboxd", "sandbox-launcher", "sandbox-agent"});
    tracer.break_at(base_name(what_.program), what_.addresses);
    pid_t main = tracer.start(daemon(), output("daemon"));
    pid_t client = start({story_program(), "daemon", "unix://" + state_.path() + "/d.sock"}, output("story"));
    std::optional<int> told;
    for (const auto end = Tracer::Clock::now() + kStory; !killed_;) {
      const auto stop = tracer.next(end);
      if (!stop) {
        problem("hangs before anybody was killed: " + contents(output("story")) + contents(output("daemon")));
        break;
      }
      if (stop->why == Tracer::Why::ended) {
        if (stop->process == client) {
          told = stop->status;
          ::kill(main, SIGINT);
        }
        if (stop->process == main) break;
        continue;
      }
      reached_ = true;
      if (const auto victim = choose(tracer, *stop, main)) {
        killed_ = true;
        main_killed_ = *victim == main;
        tracer.kill(*victim);
        break;
      }
      tracer.resume(*stop);
    }
    tracer.detach();
    ends_ = tracer.ends();
    // A daemon that cannot start says so and ends; its supervisor starts it again, as after a kill.
    const bool restart = main_killed_ || (killed_ && ended_within(main, kStarting));
    if (restart) main = start(daemon(), output("daemon"));
    if (!told && killed_) told = wait_for(client);
    if (!told) ::kill(client, SIGKILL), wait_for(client);
    else if (*told != 0) problem("the story ends with status " + std::to_string(*told) + ": " + contents(output("story")));
    if (restart) await_daemon();
    if (killed_) stop(main);
    check_lines("story");
  }

  /// Whether a daemon that lost a launcher while it started gave up. One that serves does not.
  bool ended_within(pid_t daemon, std::chrono::milliseconds patience) {
    for (const auto end = std::chrono::steady_clock::now() + patience; std::chrono::steady_clock::now() < end;) {
      if (ends_.contains(daemon) || ::waitpid(daemon, nullptr, WNOHANG) == daemon) return true;
      if (contents(output("daemon")).find("listening") != std::string::npos) return false;
      std::this_thread::sleep_for(1ms);  // polling interval
    }
    return false;
  }

  /// Until the new daemon has taken over what there is and listens: a signal before would end it half-way.
  void await_daemon() {
    const bool serves = eventually(
        [&] {
          const auto client = Client::connect("unix://" + state_.path() + "/d.sock");
          if (!client) client.error().ignore("not up yet");
          return client.has_value();
        },
        kStarting);
    if (!serves) problem("no daemon: " + contents(output("daemon")));
  }

  void kill_at_point() {
    Tracer tracer({base_name(story_program()), "sandbox-launcher", "sandbox-agent"});
    tracer.break_at(base_name(what_.program), what_.addresses);
    if (what_.mode == "adopt") prelude(tracer);
    if (!problems_.empty()) return;
    const pid_t main = tracer.start(story(), output("story"));
    const auto end = Tracer::Clock::now() + kStory;
    bool over = false;
    while (!over) {
      const auto stop = tracer.next(std::min(end, Tracer::Clock::now() + kLook));
      if (!stop && Tracer::Clock::now() < end) {
        if (what_.mode == "persistent" && contents(output("story")).ends_with("done\n")) break;  // it waits for its end
        continue;
      }
      if (!stop) {
        problem("the story hangs before anybody was killed: " + contents(output("story")));
        break;
      }
      if (stop->why == Tracer::Why::ended) {
        over = stop->process == main;
        if (over && stop->status != 0) problem("undisturbed, the story ends with " + std::to_string(stop->status) + ": " + contents(output("story")));
        continue;
      }
      reached_ = true;
      if (const auto victim = choose(tracer, *stop, main)) {
        killed_ = true;
        main_killed_ = *victim == main;
        tracer.kill(*victim);
        break;
      }
      tracer.resume(*stop);
    }
    tracer.detach();
    ends_ = tracer.ends();
    if (over || main_killed_) return;
    if (what_.mode == "persistent") {
      if (!wait_done(main, output("story"))) problem("the story does not go on: " + contents(output("story")));
      ::kill(main, SIGKILL);
      wait_for(main);
      if (!killed_) aftermath();
      return;
    }
    const auto status = wait_for(main);
    if (!status) problem("the story hangs: " + contents(output("story")));
    else if (killed_ && *status != 0) problem("the story ends with status " + std::to_string(*status) + ": " + contents(output("story")));
  }

  std::optional<pid_t> choose(const Tracer& tracer, const Tracer::Stop& stop, pid_t main) const {
    const auto children = tracer.processes("sandbox-launcher+");
    auto agents = tracer.processes("sandbox-agent");
    agents.insert(agents.end(), children.begin(), children.end());
    const bool in_launcher = stop.program == "sandbox-launcher";
    switch (what_.victim) {
      case Victim::main: return main;
      case Victim::launcher:
        if (in_launcher) return stop.process;
        if (const auto launchers = tracer.processes("sandbox-launcher"); !launchers.empty()) return launchers.back();
        return std::nullopt;
      case Victim::agent:
        if (std::find(agents.begin(), agents.end(), stop.process) != agents.end()) return stop.process;
        if (!agents.empty()) return agents.back();
        return std::nullopt;
    }
    return std::nullopt;
  }

  /// Who lives was told the truth; what was promised is there; who comes next finds a working host.
  void aftermath() {
    check_lines("story");
    if (what_.mode == "embedded") {
      settle("after the kill");
      next({story_program(), "embedded", state_.path() + "/s"});
      return;
    }
    std::vector<std::string> words{story_program(), "adopt", state_.path() + "/s"};
    if (what_.mode == "adopt") words.push_back(output("earlier"));
    words.push_back(output("story"));
    next(words);
  }

  void next(const std::vector<std::string>& words) {
    const pid_t pid = start(words, output("next"));
    const auto status = wait_for(pid);
    if (!status || *status != 0) problem("the next one: " + std::string(status ? "status " + std::to_string(*status) : "hangs") + ": " + contents(output("next")));
    check_lines("next");
  }

  void check_lines(const std::string& name) {
    std::ifstream in(output(name));
    for (std::string line; std::getline(in, line);) {
      std::istringstream words(line);
      std::string kind, step, code;
      words >> kind >> step >> code;
      if (kind == "LIE") problem(name + ": " + line);
      if (kind == "error" && (name == "next" || !is_honest(code))) problem(name + ": " + line);
      // Only a killed launcher or agent loses what was handed out.
      if (kind == "missing" && what_.victim != Victim::launcher) problem(name + ": " + line);
      if (kind == "lost" && what_.victim == Victim::main) problem(name + ": " + line);
    }
  }

  void settle(const char* when) {
    const auto end = std::chrono::steady_clock::now() + kClean;
    std::string left;
    for (;;) {
      while (::waitpid(-1, nullptr, WNOHANG) > 0) {
      }
      Ledger now = Ledger::take();
      now.links = before_.links;  // stories have no network: whatever changes there is somebody else's
      left = difference(before_, now);
      if (left.empty() || std::chrono::steady_clock::now() >= end) break;
      // Nobody is there to remove the empty cgroups of a launcher that was killed, until the next launcher starts.
      if (what_.victim == Victim::launcher && (serves() || std::string(when) == "after the kill") && only_cgroups(left)) return;
      std::this_thread::sleep_for(2ms);  // polling interval
    }
    if (!left.empty()) problem(std::string(when) + " left behind:\n" + left);
  }

  /// No half-done work and no socket without a launcher in the state directory.
  void files() {
    std::error_code error;
    const auto whole = [](const fs::path& path) {  // a template that was saved before the kill stays, with its record
      const std::string name = path.filename().string();
      return name == "lock" || name.ends_with(".meta") || (name.ends_with(".tar.zst") && fs::exists(path.parent_path() / (name.substr(0, name.size() - 8) + ".meta")));
    };
    for (const std::string directory : {"/s/work", "/s/templates", "/s/run"}) {
      for (const auto& entry : fs::directory_iterator(state_.path() + (serves() ? "/s/runtime" + directory.substr(2) : directory), error))
        if (!whole(entry.path())) problem("a file is left: " + entry.path().string());
    }
  }

  const KillCase& what_;
  const StateDirectory state_;
  const Ledger before_;
  std::string problems_;
  std::map<pid_t, int> ends_;   ///< seen by the tracer
  bool reached_ = false, killed_ = false, main_killed_ = false;
};

}  // namespace

std::string name(Victim victim) {
  switch (victim) {
    case Victim::main: return "main";
    case Victim::launcher: return "launcher";
    case Victim::agent: return "agent";
  }
  return "nobody";
}

KillOutcome run(const KillCase& what) { return Run(what).go(); }

std::string story_program() { return fs::read_symlink("/proc/self/exe").parent_path() / "kill-story"; }

std::string helper(const std::string& name) {
  const char* directory = std::getenv("SANDBOX_BIN_DIR");
  return (directory ? std::string(directory) : fs::read_symlink("/proc/self/exe").parent_path().string()) + "/" + name;
}

}  // namespace sandbox::testing
