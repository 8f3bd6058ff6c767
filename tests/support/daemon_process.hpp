#pragma once

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <sandbox/client.hpp>

extern char** environ;

/// The build's own sandboxd on a scratch unix socket with a scratch state directory. Ended by its process id.
namespace sandbox::testing {

class DaemonProcess {
 public:
  struct Options {
    std::string settings = {};        ///< TOML behind our own
    std::string section_limits = {};  ///< lines of [limits]
    std::string section_server = {};  ///< lines of [server]
  };

  explicit DaemonProcess(Options options) {
    std::string pattern = "/tmp/sandboxd-test-XXXXXX";
    if (!::mkdtemp(pattern.data())) throw std::runtime_error("no scratch directory");
    directory_ = pattern;
    std::ofstream config(directory_ + "/config.toml");
    config << "[server]\nsocket = \"" << socket() << "\"\ndata_dir = \"" << directory_ << "/data\"\n" << options.section_server
           << "\n[limits]\nmax_sandboxes = 400\nmax_memory = \"4096g\"\nmax_cpu = 4096.0\ncreate_rate_limit = 0\nallow_host_paths = true\n"
           << options.section_limits << "\n" << options.settings << "\n";
    config.close();
    start();
    wait_ready();
  }
  DaemonProcess() : DaemonProcess(Options()) {}
  DaemonProcess(const DaemonProcess&) = delete;
  ~DaemonProcess() {
    stop(SIGTERM);
    std::error_code error;
    std::string remove = "rm -rf '" + directory_ + "'";
    if (std::system(remove.c_str()) != 0) return;
  }

  std::string socket() const { return directory_ + "/d.sock"; }
  std::string url() const { return "unix://" + socket(); }
  const std::string& directory() const { return directory_; }
  pid_t pid() const { return pid_; }

  void start() {
    const char* bin = std::getenv("SANDBOX_BIN_DIR");
    const std::string program = std::string(bin ? bin : ".") + "/sandboxd", config = directory_ + "/config.toml";
    std::vector<char*> args = {const_cast<char*>(program.c_str()), const_cast<char*>("--config"), const_cast<char*>(config.c_str()), nullptr};
    posix_spawn_file_actions_t files;
    ::posix_spawn_file_actions_init(&files);
    const std::string log = directory_ + "/log";
    ::posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_addopen(&files, 1, log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    ::posix_spawn_file_actions_adddup2(&files, 1, 2);
    const int failed = ::posix_spawn(&pid_, program.c_str(), &files, nullptr, args.data(), environ);
    ::posix_spawn_file_actions_destroy(&files);
    if (failed != 0) throw std::runtime_error(program + " cannot be started; set SANDBOX_BIN_DIR");
  }

  /// Until somebody answers, at most 30 s.
  void wait_ready() {
    for (int i = 0; i < 3000; ++i) {
      auto client = Client::connect(url());
      if (client) return;
      client.error().ignore("not up yet");
      int status = 0;
      if (::waitpid(pid_, &status, WNOHANG) == pid_) {
        pid_ = -1;
        throw std::runtime_error("sandboxd ended at once: " + log());
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    throw std::runtime_error("sandboxd does not answer: " + log());
  }

  void stop(int signal) {
    if (pid_ <= 0) return;
    ::kill(pid_, signal);
    for (int i = 0; i < 2000; ++i) {
      if (::waitpid(pid_, nullptr, WNOHANG) == pid_) {
        pid_ = -1;
        return;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }

  std::string log() const {
    std::ifstream file(directory_ + "/log");
    std::string text((std::istreambuf_iterator<char>(file)), {});
    return text.size() > 4000 ? text.substr(text.size() - 4000) : text;
  }

 private:
  std::string directory_;
  pid_t pid_ = -1;
};

}  // namespace sandbox::testing
