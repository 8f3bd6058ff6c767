#include "daemon_process.hpp"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <spawn.h>
#include <sstream>
#include <stdexcept>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include "../host_view.hpp"
#include "../report.hpp"

extern char** environ;

namespace bench {

namespace {

std::string beside_this_program(const char* name) {
  char path[PATH_MAX];
  const ssize_t size = ::readlink("/proc/self/exe", path, sizeof path);
  if (size <= 0) throw std::runtime_error("/proc/self/exe is not readable");
  return (std::filesystem::path(std::string(path, static_cast<std::size_t>(size))).parent_path() / name).string();
}

std::size_t count_descriptors(pid_t pid) {
  std::size_t count = 0;
  if (DIR* directory = ::opendir(("/proc/" + std::to_string(pid) + "/fd").c_str())) {
    while (::readdir(directory) != nullptr) ++count;
    ::closedir(directory);
  }
  return count;
}

}  // namespace

Daemon::Daemon(Options options) : program_(beside_this_program("sandboxd")) {
  char scratch[] = "/tmp/sandbox-bench-XXXXXX";
  if (::mkdtemp(scratch) == nullptr) throw std::runtime_error("no scratch directory in /tmp");
  directory_ = scratch;
  socket_ = directory_ + "/d.sock";
  std::ofstream config(directory_ + "/sandboxd.toml");
  config << "[server]\nsocket = \"" << socket_ << "\"\ndata_dir = \"" << directory_ << "/data\"\n"
         << "[limits]\nmax_sandboxes = " << options.max_sandboxes << "\nmax_memory = \"8t\"\nmax_cpu = 100000.0\n"
         << "create_rate_limit = " << options.create_rate << "\n"
         << "[pool]\ntotal_warm = " << options.warm << "\nmin_base = " << options.warm << "\n"
         << "max_warm = " << std::max(options.warm, 1u) << "\n"
         << "[pool.base.default]\nimage = \"host\"\nmemory = \"256m\"\ncpu = 1.0\n";
  config.close();
  try {
    start();
    wait_for_sandboxes(0, std::chrono::seconds(30));
  } catch (...) {
    stop();
    throw;
  }
}

Daemon::~Daemon() { stop(); }

void Daemon::start() {
  const std::string config = directory_ + "/sandboxd.toml", log = directory_ + "/log";
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_addopen(&actions, 1, log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  ::posix_spawn_file_actions_adddup2(&actions, 1, 2);
  const char* arguments[] = {program_.c_str(), "--config", config.c_str(), nullptr};
  const int failed = ::posix_spawn(&pid_, program_.c_str(), &actions, nullptr, const_cast<char**>(arguments), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) {
    pid_ = -1;
    throw std::runtime_error(program_ + " cannot be started: " + std::string(std::strerror(failed)));
  }
}

void Daemon::kill() {
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

void Daemon::stop() noexcept {
  if (pid_ > 0) {
    ::kill(pid_, SIGTERM);
    for (int i = 0; i < 2000 && ::waitpid(pid_, nullptr, WNOHANG) == 0; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    if (::waitpid(pid_, nullptr, WNOHANG) == 0) kill();
    pid_ = -1;
  }
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

DaemonView Daemon::view() const {
  DaemonView view;
  const auto health = connect().request("GET", "/health").value();
  if (health.status != 200) throw std::runtime_error("/health answered " + std::to_string(health.status));
  view.sandboxes = std::strtoull(json_value(health.body, "sandboxes").c_str(), nullptr, 10);
  view.pss_kib = bench::pss_kib(pid_);
  view.descriptors = count_descriptors(pid_);
  return view;
}

std::chrono::nanoseconds Daemon::wait_for_sandboxes(std::uint64_t sandboxes, std::chrono::seconds limit) const {
  const auto begin = Clock::now();
  for (;;) {
    if (auto connection = RawConnection::open(socket_)) {
      auto health = connection->request("GET", "/health", {}, limit);
      if (health && health->status == 200 && std::strtoull(json_value(health->body, "sandboxes").c_str(), nullptr, 10) == sandboxes) {
        return Clock::now() - begin;
      }
    }
    if (::waitpid(pid_, nullptr, WNOHANG) != 0) throw std::runtime_error("the daemon ended: " + log_tail());
    if (Clock::now() - begin > limit) throw std::runtime_error("not " + std::to_string(sandboxes) + " sandboxes in time: " + log_tail());
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
}

void Daemon::wait_warm() const {
  auto connection = connect();
  const auto limit = Clock::now() + std::chrono::seconds(60);
  for (;;) {
    const auto pools = connection.request("GET", "/pools").value();
    const auto ready = json_value(pools.body, "ready"), target = json_value(pools.body, "target");
    if (pools.status == 200 && std::atoi(ready.c_str()) >= std::atoi(target.c_str())) return;
    if (Clock::now() > limit) throw std::runtime_error("the pool does not fill: " + pools.body);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

std::string Daemon::log_tail() const {
  std::ifstream file(directory_ + "/log");
  std::stringstream text;
  text << file.rdbuf();
  const std::string all = text.str();
  return all.size() > 800 ? all.substr(all.size() - 800) : all;
}

}  // namespace bench
