/// scenario_runner [--environments a,b] [--filter prefix] <directory>: tells every story through the C++ interface.
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <mutex>
#include <sstream>
#include <thread>

#include "conformance/scenarios/operations.hpp"
#include "support/daemon_process.hpp"
#include "support/state_directory.hpp"

namespace sandbox::scenarios {
namespace {

constexpr std::chrono::seconds kStoryTime{60};

/// Lines to standard output and to $SANDBOX_SCENARIO_REPORT.
class Report {
 public:
  Report() {
    if (const char* path = std::getenv("SANDBOX_SCENARIO_REPORT")) file_.open(path, std::ios::trunc);
  }
  void line(std::string text) {
    std::replace(text.begin(), text.end(), '\n', ' ');
    std::cout << text << std::endl;
    if (file_.is_open()) file_ << text << std::endl;
  }

 private:
  std::ofstream file_;
};

/// Ends the program when a story hangs: a blocking call cannot be taken back.
class Watchdog {
 public:
  Watchdog(Report& report, std::string story)
      : thread_([this, &report, story = std::move(story)](const std::stop_token& stop) {
          std::unique_lock lock(mutex_);
          if (wake_.wait_for(lock, stop, kStoryTime, [&] { return stop.stop_requested(); })) return;
          if (stop.stop_requested()) return;
          report.line(story + " failed it takes longer than 60 s");
          std::_Exit(1);
        }) {}

 private:
  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::jthread thread_;
};

bool applies(const Object& story, const std::string& environment) {
  const auto found = story.find("environments");
  if (found == story.end()) return true;
  const List& all = std::get<List>(found->second);
  return std::find(all.begin(), all.end(), Value(environment)) != all.end();
}

void tell(const Object& story, World& world) {
  static const std::string kKeys[] = {"name", "about", "environments", "spec", "steps"};
  for (const auto& [key, value] : story) {
    if (std::find(std::begin(kKeys), std::end(kKeys), key) == std::end(kKeys))
      throw Surprise("unknown key " + key + " in a story");
  }
  const auto perform_here = [&](const std::string& operation, Arguments& args, const std::string& on, Scope& scope,
                                std::any& made) {
    return perform(Call{world, operation, args, on, scope, made});
  };
  testing::StateDirectory scratch;
  Scope scope;
  scope.keep("scratch", Saved{{{"", scratch.path()}}, {}});
  const auto spec = story.find("spec");
  if (spec == story.end() || !spec->second.is_null()) {
    const Object create = {
        {"do", "create"}, {"save", "box"}, {"args", spec == story.end() ? Value(Object()) : spec->second}};
    run_steps({create}, scope, perform_here);
  }
  run_steps(std::get<List>(story.at("steps")), scope, perform_here);
}

struct Counts {
  int ok = 0, failed = 0, skipped = 0;
};

void run_file(const std::filesystem::path& file, const std::string& filter, World& world, Report& report,
              Counts& counts) {
  const Value root = read_json(file);
  const Object& all = std::get<Object>(root);
  if (all.at("format") != Value(1)) throw Surprise("unknown format");
  const std::string area = std::get<std::string>(all.at("area"));
  for (const Value& one : std::get<List>(all.at("stories"))) {
    const Object& story = std::get<Object>(one);
    const std::string name = area + "." + std::get<std::string>(story.at("name"));
    if (!name.starts_with(filter)) continue;
    const std::string line = "story " + world.environment + " " + name;
    if (!applies(story, world.environment)) {
      ++counts.skipped;
      report.line(line + " skipped not for this environment");
      continue;
    }
    try {
      const Watchdog watchdog(report, line);
      tell(story, world);
      ++counts.ok;
      report.line(line + " ok");
    } catch (const std::exception& error) {
      ++counts.failed;
      report.line(line + " failed " + error.what());
    }
  }
}

bool run_environment(const std::string& environment, const std::string& directory, const std::string& filter,
                     Report& report) {
  testing::StateDirectory state;
  std::unique_ptr<testing::DaemonProcess> daemon;
  World world{environment, nullptr, nullptr};
  if (environment == "embedded") {
    world.runtime = std::make_unique<Runtime>(Runtime::open(RuntimeOptions().state_directory(state.path())).value());
  } else if (environment == "daemon" || environment == "sealed") {
    daemon = std::make_unique<testing::DaemonProcess>();
    world.client = std::make_unique<Client>(Client::connect(daemon->url()).value());
  } else {
    throw Surprise("unknown environment " + environment);
  }
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    if (entry.path().extension() == ".json") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  Counts counts;
  for (const auto& file : files) run_file(file, filter, world, report, counts);
  if (world.runtime) world.runtime->close().value();
  report.line("stories " + environment + " " + std::to_string(counts.ok) + " ok, " + std::to_string(counts.failed) +
              " failed, " + std::to_string(counts.skipped) + " skipped");
  return counts.failed == 0 && counts.ok > 0;
}

int run(int argc, char** argv) {
  std::string environments = "embedded,daemon,sealed", filter, directory;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--environments" && i + 1 < argc)
      environments = argv[++i];
    else if (word == "--filter" && i + 1 < argc)
      filter = argv[++i];
    else
      directory = word;
  }
  if (directory.empty()) {
    std::cerr << "usage: " << argv[0] << " [--environments embedded,daemon,sealed] [--filter prefix] <directory>\n";
    return 2;
  }
  Report report;
  bool good = true;
  std::istringstream names(environments);
  for (std::string environment; std::getline(names, environment, ',');)
    good &= run_environment(environment, directory, filter, report);
  return good ? 0 : 1;
}

}  // namespace
}  // namespace sandbox::scenarios

int main(int argc, char** argv) {
  try {
    return sandbox::scenarios::run(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "scenario_runner: " << error.what() << "\n";
    return 1;
  }
}
