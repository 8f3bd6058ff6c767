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
#include <optional>
#include <set>
#include <sstream>
#include <thread>

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
constexpr auto kClean = 5s;

std::string base_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

std::string contents(const std::string& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// What may be told to somebody whose sandbox, launcher or daemon was killed.
bool is_honest(const std::string& code) { return code == "unavailable"; }

class Run {
 public:
  explicit Run(const KillCase& what) : what_(what), before_(Ledger::take()) {}

  KillOutcome go() {
    if (what_.mode == "adopt") prelude();
    if (problems_.empty()) kill_at_point();
    if (killed_) aftermath();
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
    for (const auto end = std::chrono::steady_clock::now() + kStory; std::chrono::steady_clock::now() < end;) {
      int status = 0;
      const pid_t ended = ::waitpid(-1, &status, WNOHANG);
      if (ended == pid) return status;
      if (ended <= 0) std::this_thread::sleep_for(1ms);  // polling interval
    }
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

  /// A persistent embedder that dies with a sandbox to be taken over.
  void prelude() {
    const pid_t earlier = start({story_program(), "persistent", state_.path() + "/s"}, output("earlier"));
    if (!wait_done(earlier, output("earlier"))) problem("no sandbox to take over: " + contents(output("earlier")));
    ::kill(earlier, SIGKILL);
    wait_for(earlier);
  }

  std::string output(const std::string& name) const { return state_.path() + "/" + name + ".out"; }

  std::vector<std::string> story() const {
    std::vector<std::string> words{story_program(), what_.mode, state_.path() + "/s"};
    if (what_.mode == "adopt") words.push_back(output("earlier"));
    return words;
  }

  void kill_at_point() {
    Tracer tracer({base_name(story_program()), "sandbox-launcher", "sandbox-agent"});
    tracer.break_at(base_name(what_.program), what_.addresses);
    const pid_t main = tracer.start(story(), output("story"));
    const auto end = Tracer::Clock::now() + kStory;
    bool over = false;
    while (!over) {
      const auto stop = tracer.next(end);
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
      // Persistent stories wait for their end.
      if (what_.mode == "persistent" && contents(output("story")).ends_with("done\n")) break;
    }
    tracer.detach();
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
      left = difference(before_, Ledger::take());
      if (left.empty() || std::chrono::steady_clock::now() >= end) break;
      std::this_thread::sleep_for(2ms);  // polling interval
    }
    if (!left.empty()) problem(std::string(when) + " left behind:\n" + left);
  }

  /// No half-done work and no socket without a launcher in the state directory.
  void files() {
    std::error_code error;
    for (const char* directory : {"/s/work", "/s/templates", "/s/run"}) {
      for (const auto& entry : fs::directory_iterator(state_.path() + directory, error))
        if (entry.path().filename() != "lock") problem("a file is left: " + entry.path().string());
    }
  }

  const KillCase& what_;
  const StateDirectory state_;
  const Ledger before_;
  std::string problems_;
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
